"""The coverage page is true: every RPC is accounted for, what it calls served is served, and its scenarios exist."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from freehold.assembly.engine import Engine
from freehold.config import Settings
from freehold.control.rpc.server import CLIENT, COMMAND_ROUTER, served_by

SCRIPT = Path(__file__).parents[2] / "scripts" / "rpc_coverage.py"


@pytest.fixture(scope="module")
def script() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def test_every_rpc_is_classified_once_and_its_scenarios_exist(script: SimpleNamespace) -> None:
    assert script.Coverage.load().problems() == []


def test_what_is_called_served_is_what_the_engine_serves(script: SimpleNamespace, tmp_path: Path) -> None:
    engine = Engine(Settings(home=tmp_path))

    served = {name for service in (CLIENT, COMMAND_ROUTER) for name in served_by(engine.rpcs.resources, service)}
    assert served == set(script.Coverage.load().served)


def test_the_page_is_the_one_that_the_script_writes(script: SimpleNamespace) -> None:
    assert script.PAGE.read_text() == script.page(script.Coverage.load())


def test_a_classification_that_forgets_or_doubles_is_noticed(script: SimpleNamespace) -> None:
    coverage = script.Coverage.load()
    forgetful = script.Coverage({**coverage.served, "AppStop": ["test_run.py::test_nothing"], "AppTeleport": []}, coverage.gaps[1:])

    problems = forgetful.problems()

    assert f"{coverage.gaps[0].rpcs[0]} is not classified." in problems
    assert "AppStop names test_run.py::test_nothing, which does not exist." in problems
    assert "The client has no RPC named AppTeleport." in problems
    assert "AppTeleport names no scenario." in problems
