"""Secrets: where they come from, and where they never appear."""

import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import modal
import pytest

from conformance.deployment import Deployment, deployed, versioned
from conformance.engine import Engine

VALUE = "conformance-" + secrets.token_hex(16)  # new in each run, so that finding it anywhere means something
STARTED = time.time()


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    engine.modal("secret", "create", "--force", "conformance", f"PASSWORD={VALUE}").succeeded()
    with deployed(engine, "secrets_app.py", name="secrets") as app:
        yield app
    engine.modal("secret", "delete", "--yes", "conformance").succeeded()


def test_a_secret_from_a_dict_is_in_the_environment(app: Deployment) -> None:
    assert app.function("from_dict").remote() == "dictionary"


def test_a_named_secret_is_in_the_environment(app: Deployment) -> None:
    assert app.function("from_name").remote() == VALUE


def test_of_two_secrets_with_the_same_key_the_later_wins(app: Deployment) -> None:
    assert app.function("later_wins").remote() == "later"


def test_a_dotenv_file_is_read(engine: Engine, tmp_path) -> None:
    (tmp_path / ".env").write_text("FROM_DOTENV='a value with spaces'\n")

    with deployed(engine, versioned("dotenv_app.py", tmp_path), name="dotenv") as app:
        assert app.function("from_dotenv").remote() == "a value with spaces"


def test_the_commands_create_list_and_delete(engine: Engine) -> None:
    engine.modal("secret", "create", "short-lived", "KEY=value").succeeded()
    assert "short-lived" in _names(engine)
    assert engine.modal("secret", "create", "short-lived", "KEY=other").code != 0, "it exists"

    engine.modal("secret", "delete", "--yes", "short-lived").succeeded()

    assert "short-lived" not in _names(engine)


def test_a_secret_can_be_changed(engine: Engine) -> None:
    engine.modal("secret", "create", "--force", "changing", "A=1", "B=2").succeeded()

    modal.Secret.from_name("changing").update({"B": "3"})

    with pytest.raises(modal.exception.NotFoundError):
        modal.Secret.from_name("changing", required_keys=["C"]).hydrate()
    modal.Secret.from_name("changing", required_keys=["A", "B"]).hydrate()
    engine.modal("secret", "delete", "--yes", "changing").succeeded()


def test_a_secret_that_is_not_there_stops_the_deploy_by_name(engine: Engine, tmp_path) -> None:
    script = versioned("secrets_app.py", tmp_path)
    script.write_text(script.read_text().replace('"conformance"', '"nobody-made-this"'))

    ran = engine.modal("deploy", script)

    assert ran.code != 0
    assert "nobody-made-this" in ran.output


def test_a_required_key_that_is_missing_stops_the_deploy(engine: Engine, app: Deployment, tmp_path) -> None:
    script = versioned("secrets_app.py", tmp_path)
    script.write_text(script.read_text().replace('required_keys=["PASSWORD"]', 'required_keys=["USERNAME"]'))

    ran = engine.modal("deploy", script)

    assert ran.code != 0
    assert "USERNAME" in ran.output


def test_a_key_that_is_no_variable_name_is_refused(engine: Engine) -> None:
    with pytest.raises(modal.exception.InvalidError, match="not-a-name"):
        modal.Secret.objects.create("broken", {"not-a-name": "x"})
    assert "broken" not in _names(engine)


def test_its_value_is_in_no_file_of_the_engine(app: Deployment) -> None:
    app.function("from_name").remote()  # it is in use while we look

    assert _files_with(VALUE.encode(), app.engine.home) == []


def test_its_value_is_in_no_log_and_no_error(app: Deployment) -> None:
    with pytest.raises(RuntimeError) as caught:
        app.function("fails").remote()

    assert VALUE not in str(caught.value)
    assert VALUE not in app.logs()
    assert VALUE not in app.engine.log.read_text(errors="replace")


def test_the_key_is_for_its_owner_only(engine: Engine) -> None:
    keys = list((engine.home / "keys").iterdir())

    assert keys
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}


def _names(engine: Engine) -> list[str]:
    return [secret["name"] for secret in json.loads(engine.modal("secret", "list", "--json").succeeded().output)]


def _files_with(text: bytes, folder: Path) -> list[str]:
    """Files written since this module was loaded that contain the text. Older ones cannot: the text is new."""
    return [str(path) for path in _recent_files(folder) if _contains(path, text)]


def _recent_files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(found.st_mode) and found.st_mtime >= STARTED:
                yield path


def _contains(path: Path, text: bytes) -> bool:
    try:
        return text in path.read_bytes()
    except FileNotFoundError:
        return False
