"""The commands as a person types them: what they print and how they end."""

import json
import os
import subprocess
import sys

import pytest

from freehold.cli.main import main
from freehold.store.keyring import Keyring


def freehold(*arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code


class TestCommandLine:
    def test_an_unknown_command_suggests_the_nearest(self, capsys):
        assert freehold("dctor") == 2
        assert "Did you mean 'doctor'" in capsys.readouterr().err

    def test_help_lists_every_command(self, capsys):
        assert freehold("--help") == 0
        printed = capsys.readouterr().out
        assert all(f" {name} " in printed for name in ("up", "down", "status", "doctor", "login", "config", "version", "deploy", "secret"))

    def test_help_imports_nothing_that_is_slow(self):
        code = "import sys, freehold.cli.main; print({'modal', 'sqlalchemy', 'grpc', 'pydantic', 'rich'} & set(sys.modules))"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"

    def test_version_names_the_packages_that_matter(self, capsys):
        assert freehold("version") == 0
        assert capsys.readouterr().out.startswith("freehold 0.1.0 (modal 1.6.4, Python 3.")

    def test_a_wrong_setting_is_a_sentence_and_not_a_traceback(self, home, monkeypatch, capsys):
        monkeypatch.setenv("FREEHOLD_PORT", "1")
        assert freehold("status") == 1
        assert capsys.readouterr().err.startswith("Error: No setting is called 'FREEHOLD_PORT'")

    def test_config_shows_values_with_their_sources(self, home, capsys):
        assert freehold("config") == 0
        printed = capsys.readouterr().out
        assert "FREEHOLD_CONTROL_PORT" in printed
        assert str(home / "config.toml") in printed


class TestWithoutAnEngine:
    def test_status_says_so_and_how_to_start_one(self, home, capsys):
        assert freehold("status") == 1
        assert "`freehold up --detach`" in capsys.readouterr().out

    def test_status_as_json_says_so_too(self, home, capsys):
        assert freehold("status", "--json") == 1
        assert json.loads(capsys.readouterr().out) == {"running": False, "home": str(home)}

    def test_a_command_that_only_asks_does_not_start_one(self, home, capsys):
        assert freehold("app", "list") == 1
        assert "No engine runs" in capsys.readouterr().err


class TestModalsCommands:
    @pytest.fixture
    def executed(self, home, monkeypatch):
        """What this process would have become."""
        calls = []
        monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
        return calls

    def test_arguments_reach_modal_as_they_were_typed(self, executed):
        freehold("run", "--help", "-d", "app.py::f", "--x", "3", "--", "-y")

        program, arguments, _ = executed[0]
        assert program == sys.executable
        assert arguments[1:] == ["-P", "-m", "freehold.cli.guided", "run", "--help", "-d", "app.py::f", "--x", "3", "--", "-y"]

    def test_address_and_token_win_over_the_persons_profile(self, executed, home, settings, monkeypatch):
        monkeypatch.setenv("MODAL_PROFILE", "cloud")
        monkeypatch.setenv("MODAL_TOKEN_ID", "ak-0")

        freehold("deploy", "--help")

        environment = executed[0][2]
        keyring = Keyring.open(home)
        assert environment["MODAL_SERVER_URL"] == settings.control_url
        assert (environment["MODAL_TOKEN_ID"], environment["MODAL_TOKEN_SECRET"]) == (keyring.token_id, keyring.token_secret)
        assert "MODAL_PROFILE" not in environment
