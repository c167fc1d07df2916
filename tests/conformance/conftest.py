"""One live engine for the whole suite. Its home is kept between runs, so that images are built once."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from modal_proto import api_pb2

from conformance.deployment import Place
from conformance.engine import APPS, Engine
from conformance.homes import built_once
from conformance.leftovers import leftovers

CHECKOUT = Path(__file__).parents[2]
# Taken out of the environment: it is no setting, and the engine would refuse it.
# Where pytest-xdist runs several at a time, each but the first has an engine and a home of its own.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0").replace("gw0", "")
HOME = Path(os.environ.pop("FREEHOLD_TEST_HOME", CHECKOUT / "build" / f"{WORKER}conformance-home")).absolute()

# Small enough that a test may reach it, large enough for what tests run.
SETTINGS = {"pids_limit": "512", "heartbeat_timeout": "45"}

# A fixture that deploys may have to build its images first.
COLD_BUILD_SECONDS = 900


# The files that take longest, these first: else one of two workers still has such a file when the other has nothing left.
LONGEST = (
    "zygotes",
    "ends",
    "snapshots",
    "deploy",
    "logs",
    "adoption",
    "rollouts",
    "volumes",
    "web",
    "calls",
    "modalkit",
    "gpus",
    "json_calls",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(COLD_BUILD_SECONDS))


def _place(item: pytest.Item) -> int:
    name = item.path.stem.removeprefix("test_")
    return LONGEST.index(name) if name in LONGEST and item.path.parent == Path(__file__).parent else len(LONGEST)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    if os.geteuid() != 0:
        pytest.skip("Containers need root: run `sudo make conformance`.")
    live = Engine(HOME, SETTINGS)
    with built_once(HOME):
        live.start()
        try:
            _stop_apps(live)
            _build_default_image(live)
        except BaseException:
            live.stop()
            raise
    with pytest.MonkeyPatch.context() as environment:
        for name, value in live.credentials.items():
            environment.setenv(name, value)
        yield live
    if not live.is_running():
        return
    live.stop().succeeded()
    assert not leftovers(HOME), "`freehold down` left something behind."


def _stop_apps(engine: Engine) -> None:
    """Apps of an earlier run that was cut short."""
    for app in engine.call("AppList", api_pb2.AppListRequest()).apps:
        if app.state != api_pb2.APP_STATE_STOPPED:
            engine.call("AppStop", api_pb2.AppStopRequest(app_id=app.app_id))


def _build_default_image(engine: Engine) -> None:
    """It takes minutes on a new home, which no single test should have to wait for."""
    engine.modal("run", f"{APPS / 'run.py'}::cube", "--x", "1", within=COLD_BUILD_SECONDS).succeeded()


@pytest.fixture
def place() -> Place:
    """A new one for each test."""
    return Place()


@pytest.fixture(autouse=True)
def _running_engine(request: pytest.FixtureRequest) -> None:
    """A test that ended the engine and failed before it started it again must not fail all that follow."""
    if "engine" not in request.fixturenames:
        return
    engine = request.getfixturevalue("engine")
    if not engine.is_running():
        engine.start()
