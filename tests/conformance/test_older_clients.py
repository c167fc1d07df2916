"""Clients of other versions: the same engine serves them, and each of their containers has its caller's version.

The apps and the script in `apps/older` are written as their generation writes. `make conformance-versions` runs all versions and writes down
what it saw, for docs/reference/sdk-versions.md.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import modal
import pytest
from modal_proto import api_pb2
from sdks.installed import ALL, FOLDER, SOME

from conformance.clients import OLDER, Client
from conformance.deployment import Deployment
from conformance.engine import Engine
from conformance.sites import browser
from conformance.waiting import eventually

RESULTS = FOLDER / "results.json"
NAME = "older"
WITHOUT_CLASSES = {"0.64.235"}

_LATER = pytest.mark.long(reason="one deployment for each version; `make conformance-versions`")
VERSIONS = [version if version in SOME else pytest.param(version, marks=_LATER) for version in ALL]


@dataclass(frozen=True)
class Deployed:
    """The app as a client of one version has deployed it, and what its script was answered."""

    client: Client
    deployment: Deployment
    answers: dict[str, Any]

    @property
    def version(self) -> str:
        return self.client.version

    def answer(self, use: str) -> Any:
        told = self.answers[use]
        assert "error" not in told, told["error"]
        return told["result"]


@pytest.fixture(scope="module", params=VERSIONS)
def deployed(engine: Engine, request: pytest.FixtureRequest, seen: "Seen") -> Iterator[Deployed]:
    client = Client.of(engine, request.param)
    logged = engine.log.stat().st_size
    client.modal("secret", "create", "--force", NAME, f"WORD={client.version}").succeeded()
    with seen(client.version, "deploy"):
        output = client.modal("deploy", "--name", NAME, app_of(client.version)).succeeded().output
    deployment = Deployment(engine, NAME, output)
    try:
        yield Deployed(client, deployment, client.answers("use.py", NAME))
    finally:
        engine.call("AppStop", api_pb2.AppStopRequest(app_id=deployment.app_id))
    with engine.log.open() as log:
        log.seek(logged)
        assert "Traceback" not in log.read(), "A request of this client ended in a traceback of the engine's."


def app_of(version: str) -> str:
    if version in WITHOUT_CLASSES:
        return "app_0_64.py"
    return "app_0.py" if version.startswith("0.") else "app_1.py"


class Seen:
    """What worked for which version: written down when all were asked for."""

    def __init__(self) -> None:
        self.results: dict[str, dict[str, bool]] = {}

    @contextmanager
    def __call__(self, version: str, capability: str) -> Iterator[None]:
        self.results.setdefault(version, {})[capability] = False
        yield
        self.results[version][capability] = True

    def write(self) -> None:
        """Beside what was seen before of versions that were not asked this time."""
        known = json.loads(RESULTS.read_text()) | self.results
        RESULTS.write_text(json.dumps({version: known[version] for version in ALL}, indent=2) + "\n")


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    seen = Seen()
    yield seen
    if "RECORD" in os.environ:
        seen.write()


def test_what_is_deployed_answers(deployed: Deployed, seen: Seen) -> None:
    with seen(deployed.version, "remote"):
        assert deployed.answer("remote") == 8
        assert "positional argument" in deployed.answer("failure")
        assert deployed.answer("large") == 6_000_000


def test_its_containers_have_the_version_of_their_caller_and_their_secrets(deployed: Deployed, seen: Seen) -> None:
    with seen(deployed.version, "secret"):
        assert deployed.answer("environment") == {"modal": deployed.version, "secret": deployed.version, "local": False}


def test_maps_spawns_and_generators(deployed: Deployed, seen: Seen) -> None:
    for use, expected in (("map", list(range(0, 120, 2))), ("spawn", 12), ("generator", [0, 1, 2])):
        with seen(deployed.version, use):
            assert deployed.answer(use) == expected


def test_each_value_of_a_class_counts_for_itself(deployed: Deployed, seen: Seen) -> None:
    if deployed.version in WITHOUT_CLASSES:
        refused = deployed.client.modal("deploy", "--name", f"{NAME}-class", "app_0.py")
        assert refused.code != 0
        assert f"Classes of modal {deployed.version} are not served" in refused.output
        return
    with seen(deployed.version, "class"):
        assert deployed.answer("class") == [6, 8, 7]


def test_functions_that_travel_in_their_definition(deployed: Deployed, seen: Seen) -> None:
    with seen(deployed.version, "serialized"):
        assert deployed.answer("serialized") == "AHOY"


async def test_web_functions_answer(deployed: Deployed, seen: Seen) -> None:
    with seen(deployed.version, "web"):
        async with browser() as session:
            async with session.get(f"{await deployed.deployment.url('hello')}?name=Ada") as answer:
                assert await answer.json() == {"hello": "Ada", "modal": deployed.version}
            async with session.get(f"{await deployed.deployment.url('asgi')}/some/path") as answer:
                assert (answer.headers["x-path"], await answer.text()) == ("/some/path", "plain")


def test_a_schedule_is_known_and_runs(deployed: Deployed, seen: Seen) -> None:
    with seen(deployed.version, "schedule"):
        call_id = deployed.client.engine.freehold("schedules", "run", f"{NAME}.tick").succeeded().output.strip()
        assert modal.FunctionCall.from_id(call_id).get(timeout=60) == f"ticked by {deployed.version}"


def test_commands_run_in_its_containers(deployed: Deployed) -> None:
    deployed.answer("remote")
    running = eventually(lambda: [each for each in deployed.deployment.containers() if each.started_at], within=60, what="A container")

    finished = deployed.client.modal("container", "exec", "--no-pty", running[0].task_id, "--", "sh", "-c", "seq 5000; echo höre >&2; pwd")

    lines = finished.succeeded().output.split()
    assert {*map(str, range(1, 5001)), "höre", "/root"} <= set(lines)


def test_its_logs_are_shown_by_its_own_command(deployed: Deployed, seen: Seen) -> None:
    with seen(deployed.version, "logs"):
        deployed.answer("remote")
        with deployed.client.start_modal("app", "logs", NAME) as logs:
            logs.line("doubling 4", within=60)


def test_modal_run_shows_the_log_and_the_answer(deployed: Deployed, seen: Seen) -> None:
    with seen(deployed.version, "run"):
        finished = deployed.client.modal("run", app_of(deployed.version), "--x", "5").succeeded()
        assert "doubling 5" in finished.output
        assert "answer 10" in finished.output


def test_a_client_that_is_newer_than_the_engine_is_warned(engine: Engine) -> None:
    """It says that it is of a version that nobody has made yet, so that its containers cannot get theirs either."""
    finished = engine.python(OLDER / "of_tomorrow.py").succeeded()
    engine.modal("app", "stop", "--yes", "of-tomorrow")

    assert "modal 9.9.9 is newer than this engine" in finished.output
    assert "modal==9.9.9 for Python 3.11" in finished.output
