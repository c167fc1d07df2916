"""What the commands that become modal's look at first."""

import os
from pathlib import Path

import pytest

from freehold.cli.logs import following
from freehold.cli.main import main
from freehold.cli.modal import script_in


@pytest.mark.parametrize(
    ("arguments", "follows"),
    [
        (["iris"], True),
        (["iris", "--search", "x", "--source", "stderr", "--timestamps"], True),
        (["iris", "-e", "prod"], True),
        (["iris", "--since", "2h"], False),
        (["iris", "--since=2h"], False),
        (["iris", "-n", "5"], False),
        (["iris", "-n5"], False),
        (["iris", "--tail=5"], False),
        (["--help"], False),
        ([], False),
    ],
)
def test_logs_follow_unless_they_are_to_look_back(arguments, follows):
    assert following(arguments) == [*arguments, "--follow"] if follows else following(arguments) == arguments


@pytest.mark.parametrize("flag", ["-f", "--follow"])
def test_logs_are_told_once_to_follow(flag):
    assert following(["iris", flag]) == ["iris", flag]


@pytest.mark.parametrize(
    ("arguments", "script"),
    [
        (["app.py"], "app.py"),
        (["-d", "sub/app.py::train", "--file", "other.py"], "sub/app.py"),
        (["--name", "x.py", "app.py"], "app.py"),
        (["-m", "package.module"], None),
        (["package.module::f", "--", "app.py"], None),
        ([], None),
    ],
)
def test_the_script_is_the_first_python_file_that_is_no_options_value(arguments, script):
    assert script_in(arguments) == (Path(script) if script else None)


class TestScripts:
    @pytest.fixture(autouse=True)
    def folder(self, home, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("modal was started"))
        return tmp_path

    def refused(self, capsys, *arguments):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 1
        return capsys.readouterr().err

    def test_one_that_is_not_there_is_told_before_anything_starts(self, folder, home, capsys):
        (folder / "app.py").touch()
        assert self.refused(capsys, "deploy", "ap.py") == "Error: There is no file ap.py. Did you mean app.py?\n"
        assert not (home / "run").exists(), "no engine was started"

    @pytest.mark.parametrize(
        ("others", "said"),
        [([], "there is no .py file at all"), (["one.py"], "there is one.py."), (["a.py", "b.py"], "there are a.py, b.py.")],
    )
    def test_what_is_there_instead_is_said(self, folder, capsys, others, said):
        for name in others:
            (folder / name).touch()
        assert said in self.refused(capsys, "deploy", "nope-at-all.py")

    def test_a_folder_that_is_not_there_is_said(self, folder, capsys):
        assert f"There is no folder examples in {folder}." in self.refused(capsys, "run", "examples/app.py::f")

    def test_wrong_syntax_is_told_with_its_line(self, folder, capsys):
        (folder / "app.py").write_text("import modal\napp = modal.App(\n")
        told = self.refused(capsys, "deploy", "app.py")
        assert told.startswith("Error: app.py, line 2 is not Python: '(' was never closed.\n    app = modal.App(\n")
        assert "Traceback" not in told
