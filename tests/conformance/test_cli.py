"""The `freehold` command, on an engine and a home of its own."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from conformance.engine import APPS, Engine


@pytest.fixture
def idle() -> Iterator[Engine]:
    """An engine that is not running, and is not after the test. Its sockets need a home with a short path."""
    with TemporaryDirectory(prefix="fh-") as folder:
        engine = Engine(Path(folder) / "home")
        yield engine
        engine.freehold("down")


def test_up_detached_returns_when_the_engine_answers(idle: Engine) -> None:
    idle.freehold("up", "--detach").succeeded()

    idle.modal("app", "list").succeeded()
    status = json.loads(idle.freehold("status", "--json").succeeded().output)
    assert (status["running"], status["control_url"], status["gateway_url"]) == (True, idle.control_url, idle.gateway_url)


def test_up_twice_is_told_and_harms_nothing(idle: Engine) -> None:
    idle.freehold("up", "--detach").succeeded()

    in_front, detached = idle.freehold("up"), idle.freehold("up", "--detach")

    assert in_front.code != 0
    assert "already" in in_front.output
    assert "already" in detached.succeeded().output
    idle.freehold("status").succeeded()


def test_down_ends_it_and_down_again_is_fine(idle: Engine) -> None:
    idle.freehold("up", "--detach").succeeded()

    idle.freehold("down").succeeded()
    idle.freehold("down").succeeded()

    status = idle.freehold("status")
    assert status.code == 1
    assert "No engine runs" in status.output


def test_a_taken_port_is_named(idle: Engine, engine: Engine) -> None:
    idle.control_port = engine.control_port

    ran = idle.freehold("up")

    assert ran.code != 0
    assert str(engine.control_port) in ran.output


def test_two_engines_live_side_by_side(idle: Engine, engine: Engine) -> None:
    idle.freehold("up", "--detach").succeeded()

    idle.modal("app", "list").succeeded()
    engine.modal("app", "list").succeeded()
    mixed = {**engine.client_environment, "MODAL_SERVER_URL": idle.control_url}
    assert engine.modal("app", "list", env=mixed).code != 0, "the token of one is none of the other's"


def test_login_makes_plain_modal_commands_work(idle: Engine, tmp_path: Path) -> None:
    config = tmp_path / "modal.toml"
    idle.freehold("up", "--detach").succeeded()

    idle.freehold("login", env={"MODAL_CONFIG_PATH": str(config)}).succeeded()

    assert config.stat().st_mode & 0o077 == 0, "it holds a token"
    plain = {name: value for name, value in idle.client_environment.items() if name not in idle.credentials}
    profiles = idle.modal("profile", "list", "--json", env={**plain, "MODAL_CONFIG_PATH": str(config)}).succeeded()
    assert json.loads(profiles.output) == [{"name": "freehold", "workspace": "local", "active": True}]


def test_login_keeps_the_profiles_that_are_there(idle: Engine, tmp_path: Path) -> None:
    config = tmp_path / "modal.toml"
    config.write_text('[work]\ntoken_id = "ak-mine"\ntoken_secret = "as-mine"\nactive = true\n')

    idle.freehold("login", env={"MODAL_CONFIG_PATH": str(config)}).succeeded()

    profiles = tomllib.loads(config.read_text())
    assert profiles["work"]["token_id"] == "ak-mine"
    assert [name for name, profile in profiles.items() if profile.get("active")] == ["freehold"]


def test_doctor_says_what_this_machine_can_do(idle: Engine) -> None:
    checked = idle.freehold("doctor").succeeded()

    for subject in ("runtime", "cgroup", "network", "python"):
        assert subject in checked.output.lower()


def test_only_commands_that_run_something_start_the_engine(idle: Engine) -> None:
    assert idle.freehold("app", "list").code != 0
    assert idle.freehold("status").code == 1

    idle.freehold("deploy", APPS / "no_such_base.py", within=120)

    idle.freehold("status").succeeded()
