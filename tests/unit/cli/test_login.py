"""The profile that plain `modal` uses, beside those that were there before."""

import pytest
import toml

from freehold.cli.login import with_profile
from freehold.cli.main import main
from freehold.store.keyring import Keyring

VALUES = {"server_url": "http://127.0.0.1:8970", "token_id": "ak-1", "token_secret": "as-1"}


class TestWithProfile:
    def test_a_new_profile_becomes_the_active_one(self):
        profiles = with_profile({"cloud": {"token_id": "ak-0", "active": True}}, "freehold", VALUES, activate=True)

        assert profiles == {"cloud": {"token_id": "ak-0"}, "freehold": VALUES | {"active": True}}

    def test_without_activation_the_active_profile_stays(self):
        profiles = with_profile({"cloud": {"token_id": "ak-0", "active": True}}, "freehold", VALUES, activate=False)

        assert profiles == {"cloud": {"token_id": "ak-0", "active": True}, "freehold": VALUES}

    def test_without_activation_an_unnamed_default_becomes_explicit(self):
        """Modal refuses several profiles of which none is active."""
        profiles = with_profile({"default": {"token_id": "ak-0"}}, "freehold", VALUES, activate=False)

        assert profiles["default"]["active"]
        assert "active" not in profiles["freehold"]

    def test_a_profile_of_that_name_is_replaced(self):
        profiles = with_profile(
            {"freehold": {"token_id": "ak-0", "environment": "old", "active": True}}, "freehold", VALUES, activate=False
        )

        assert profiles == {"freehold": VALUES | {"active": True}}


class TestLogin:
    @pytest.fixture
    def path(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "modal.toml"))
        return tmp_path / "modal.toml"

    def login(self, *arguments):
        with pytest.raises(SystemExit) as end:
            main(["login", *arguments])
        return end.value.code

    def test_writes_address_and_token_for_its_owner_only(self, home, settings, path):
        assert self.login() == 0

        keyring = Keyring.open(home)
        profile = toml.load(path)["freehold"]
        assert profile == {
            "server_url": settings.control_url,
            "token_id": keyring.token_id,
            "token_secret": keyring.token_secret,
            "active": True,
        }
        assert path.stat().st_mode & 0o777 == 0o600

    def test_keeps_other_profiles(self, home, path):
        path.write_text('[cloud]\ntoken_id = "ak-0"\n')

        assert self.login("--profile", "here", "--no-activate") == 0

        assert list(toml.load(path)) == ["cloud", "here"]

    def test_a_broken_file_is_left_alone(self, home, path, capsys):
        path.write_text("[cloud\n")

        assert self.login() == 1

        assert path.read_text() == "[cloud\n"
        assert "not valid TOML, so it was left alone" in capsys.readouterr().err
