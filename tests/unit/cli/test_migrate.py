"""`freehold migrate`: shows what it would change, and changes it when that is wished."""

import pytest

from freehold.cli.main import main

OLD = "import modal\n\napp = modal.Stub()\nurl = f.web_url\n"


def migrate(*arguments):
    with pytest.raises(SystemExit) as end:
        main(["migrate", *map(str, arguments)])
    return end.value.code


@pytest.fixture
def app(tmp_path):
    path = tmp_path / "app.py"
    path.write_text(OLD)
    return path


def test_the_difference_is_shown_and_the_file_left(app, capsys):
    assert migrate(app) == 0

    said = capsys.readouterr()
    assert "-app = modal.Stub()\n+app = modal.App()\n" in said.out
    assert f"{app}:4: `modal.Function.web_url` stays" in said.err
    assert app.read_text() == OLD


def test_it_is_written_when_that_is_wished_and_then_there_is_nothing_more_to_do(app, capsys):
    migrate(app, "--write")
    assert app.read_text() == OLD.replace("Stub", "App")
    capsys.readouterr()

    migrate(app, "--write")
    assert capsys.readouterr().out == ""


def test_what_is_no_python_is_refused_with_its_name(app, capsys):
    app.write_text("def f(:\n")

    assert migrate(app) == 1
    assert f"Error: {app} is no Python that can be read" in capsys.readouterr().err
