"""One engine for all faults, on a home of its own, and the invariants that are checked after every one of them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance.engine import Engine
from conformance.homes import built_once
from conformance.leftovers import leftovers

from faults import invariants
from faults.workload import Workload

CHECKOUT = Path(__file__).parents[2]
APPS = Path(__file__).parent / "apps"
HOME = CHECKOUT / "build" / "faults-home"
_COLD_BUILD_SECONDS = 900
MOST_DEATHS = 3
# SPARES=0: without containers that are made ahead of need.
SETTINGS = {"spare_containers": os.environ["SPARES"]} if "SPARES" in os.environ else {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_COLD_BUILD_SECONDS))


@pytest.fixture(scope="session")
def home() -> Path:
    """Empty but for built images."""
    if os.geteuid() != 0:
        pytest.skip("Containers need root: run `sudo make faults`.")
    for path in HOME.glob("freehold.db*"):
        path.unlink()
    return HOME


@pytest.fixture(scope="session")
def engine(home: Path) -> Iterator[Engine]:
    live = Engine(home, SETTINGS)
    with built_once(home):
        live.freehold("down").succeeded()
        live.start()
        live.modal("deploy", APPS / "work.py", within=_COLD_BUILD_SECONDS).succeeded()
    yield live
    if live.is_running():
        live.stop().succeeded()
    assert not leftovers(home), "`freehold down` left something behind."


@pytest.fixture
def work(engine: Engine) -> Iterator[Workload]:
    """A deployment to disturb. What was promised to it is held against the engine when the test is over."""
    if not engine.is_running():  # an earlier test failed while it was down
        engine.start()
    if engine.deaths >= MOST_DEATHS:  # a few more short lives, and its supervisor gives up
        engine.stop().succeeded()
        engine.start()
    yield from held_against_the_engine(Workload(engine))


def held_against_the_engine(work: Workload) -> Iterator[Workload]:
    """The workload; the invariants are checked when it comes back."""
    yield work
    try:
        invariants.check(work)
    finally:
        work.close()
