"""Containers of `enable_memory_snapshot=True` are forked from the state that `enter(snap=True)` hooks have made, or started as others."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from conformance.deployment import Deployment, deploy, deployed, versioned
from conformance.engine import Engine
from conformance.leftovers import leftovers
from conformance.test_adoption import die_and_rise
from conformance.test_logs import items
from conformance.test_zygotes import story
from conformance.waiting import eventually

SOON = 90  # seconds within which a snapshot is there, on a busy machine
_OF_EACH = {"MODAL_TASK_ID", "MODAL_OVERRIDE_HEADERS"}


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    engine.modal("secret", "create", "--force", "snapshots", "WORD=first").succeeded()
    with deployed(engine, "snapshots.py") as app:
        yield app
    engine.modal("secret", "delete", "--yes", "snapshots").succeeded()


def look(app: Deployment, name: str, /, **parameters: str) -> dict[str, Any]:
    answer: dict[str, Any] = app.cls(name)(**parameters).look.remote()
    return answer


def restored(app: Deployment, name: str, /, **parameters: str) -> dict[str, Any]:
    """The answer of the first container that was forked from its class's state."""

    def ask() -> dict[str, Any] | None:
        answer = look(app, name, **parameters)
        return answer if answer["of_snapshot"] else None

    return eventually(ask, within=SOON, what=f"A fork that answers for {name}") or {}


def refusal(engine: Engine, subject: str) -> str:
    """Why there is no snapshot, as `freehold coldstart` tells it."""
    told = engine.freehold("coldstart", subject).succeeded().output
    return told.rpartition("No snapshot of ")[2] if "No snapshot of" in told else ""


class TestState:
    def test_it_is_made_once_for_all_containers_that_come_after(self, app: Deployment) -> None:
        first = restored(app, "State")
        others = [restored(app, "State") for _ in range(3)]

        assert {answer["made"] for answer in others} == {first["made"]}
        assert len({answer["task"] for answer in (first, *others)}) == 4

    def test_hooks_that_are_not_of_the_snapshot_run_in_each(self, app: Deployment) -> None:
        answer = restored(app, "State")

        assert answer["arrived"] == answer["task"]
        eventually(lambda: f"bye of {answer['task']}" in app.logs(), within=60, what="The exit hook")

    def test_files_that_the_hook_wrote_or_removed_are_so_in_each(self, app: Deployment) -> None:
        """One that it has left open is read on from where the hook was, by each for itself."""
        restored(app, "State")
        for _ in range(2):
            assert look(app, "State")["files"] == ("by the hook", False, b"ELF")

    def test_what_asyncio_holds_goes_on(self, app: Deployment) -> None:
        answer = restored(app, "Asynchronous")

        assert (answer["said"], answer["thread"]) == ("ready", "ran")
        assert list(app.cls("Asynchronous")().count.remote_gen(4)) == [0, 1, 2, 3]

    def test_a_function_has_what_its_module_has_made(self, app: Deployment) -> None:
        def ask() -> dict[str, Any] | None:
            answer: dict[str, Any] = app.function("plain_function").remote()
            return answer if answer["of_snapshot"] else None

        first, second = (eventually(ask, within=SOON, what="A fork") or {} for _ in range(2))
        assert second["made"] == first["made"]

    def test_web_functions_are_served_from_it(self, app: Deployment) -> None:
        url = app.cls("Page")().look.get_web_url()
        assert url
        host = url.removeprefix("http://").rstrip("/")

        def ask() -> dict[str, Any] | None:
            with urlopen(Request(app.engine.gateway_url, headers={"Host": host}), timeout=60) as page:
                answer: dict[str, Any] = json.load(page)
                return answer if answer["of_snapshot"] else None

        first, second = (eventually(ask, within=SOON, what="A fork") or {} for _ in range(2))
        assert (second["made"], second["task"] == first["task"]) == (first["made"], False)
        assert "'transport': 'http'" in story(app.engine, first["task"])

    def test_each_parameter_has_its_own(self, app: Deployment) -> None:
        for name in ("Ada", "Bob"):
            assert restored(app, "Guest", name=name)["greeting"] == f"welcome {name}"


class TestIsKeptApart:
    def test_chance_is_not_shared(self, app: Deployment) -> None:
        restored(app, "State")

        assert len({look(app, "State")["chance"] for _ in range(3)}) == 3

    def test_the_state_holds_no_identity_and_each_task_has_its_own(self, app: Deployment) -> None:
        first, second = restored(app, "State"), restored(app, "State")

        assert first["headers"] == "x-task:,x-task-token:"
        for answer in (first, second):
            assert answer["environment"]["MODAL_OVERRIDE_HEADERS"].startswith(f"x-task:{answer['task']},")
        assert first["environment"]["MODAL_OVERRIDE_HEADERS"] != second["environment"]["MODAL_OVERRIDE_HEADERS"]

    def test_it_may_do_what_others_may(self, engine: Engine, app: Deployment) -> None:
        fork = restored(app, "State")
        with engine.restarted(zygotes="off"):
            plain = look(app, "State")

        assert not plain["of_snapshot"]
        for answer in (plain, fork):
            answer["status"] = [
                line
                for line in answer["status"].splitlines()
                if line.startswith(("Cap", "NoNewPrivs", "Seccomp:", "SigBlk", "SigIgn", "SigCgt"))
            ]
            answer["environment"] = {name: value for name, value in answer["environment"].items() if name not in _OF_EACH}
        for what in ("status", "environment", "arguments"):
            assert fork[what] == plain[what], what

    def test_output_and_ids_are_those_of_the_task(self, app: Deployment) -> None:
        answer = restored(app, "State")

        def printed() -> list[tuple[str, str]]:
            return [(item.container_id, item.input_id) for item in items(app, f"looks: {answer['input']}")]

        assert eventually(printed, within=60, what="The line") == [(answer["task"], answer["input"])]

    def test_a_changed_secret_makes_new_state(self, engine: Engine, app: Deployment) -> None:
        assert restored(app, "Secretive")["read"] == "first"

        engine.modal("secret", "create", "--force", "snapshots", "WORD=second").succeeded()

        assert [look(app, "Secretive")[name] for name in ("read", "word")] == ["second", "second"]
        assert restored(app, "Secretive")["read"] == "second"

    def test_a_deployment_makes_new_state(self, engine: Engine, tmp_path: Path) -> None:
        with deployed(engine, versioned("snapshots.py", tmp_path, VERSION=1), name="snapshots-anew") as app:
            before = restored(app, "State")
            assert before["version"] == 1

            deploy(engine, versioned("snapshots.py", tmp_path, VERSION=2), name="snapshots-anew")

            assert [look(app, "State")["version"] for _ in range(3)] == [2, 2, 2]
            after = restored(app, "State")
            assert after["version"] == 2
            assert after["made"] != before["made"]


class TestRefused:
    @pytest.mark.parametrize(
        ("how", "reason"),
        [
            ("threads", "leave threads running: my-worker"),
            ("processes", "leave processes running"),
            ("connections", "open"),
            ("files", "leave a file open for writing: /tmp/log"),
            ("memory", "leave shared memory: left"),
            ("raises", "RuntimeError: only in the template"),
            ("hangs", "take longer than 20 s"),
            ("ends", "end the process"),
            ("asks", "nothing can be asked of the engine"),
        ],
    )
    def test_what_cannot_be_forked_is_started_as_others_and_told(self, engine: Engine, app: Deployment, how: str, reason: str) -> None:
        assert look(app, "Unfit", how=how)["how"] == how
        eventually(lambda: self._told(engine, app, how, reason), within=SOON, what="The reason")

        assert not look(app, "Unfit", how=how)["of_snapshot"]

    def _told(self, engine: Engine, app: Deployment, how: str, reason: str) -> bool:
        task = look(app, "Unfit", how=how)["task"]
        return "'no_snapshot'" in story(engine, task) and reason in refusal(engine, task)

    def test_a_hook_that_fails_gives_the_error_that_it_gives(self, app: Deployment) -> None:
        for _ in range(2):
            with pytest.raises(ValueError, match="the model is not there"):
                app.cls("Raises")().look.remote()

    def test_what_breaks_after_a_fork_is_not_forked_again(self, engine: Engine, app: Deployment) -> None:
        def has_broken() -> bool:
            try:
                task = look(app, "Fragile")["task"]
            except Exception:  # noqa: BLE001 — as the container ended
                return False
            return "ended with status 134" in refusal(engine, task)

        eventually(has_broken, within=SOON, what="The end of a fork")
        assert not look(app, "Fragile")["of_snapshot"]


class TestEnds:
    def test_many_come_at_once(self, app: Deployment) -> None:
        restored(app, "State")
        with ThreadPoolExecutor(8) as callers:
            answers = list(callers.map(lambda _: look(app, "State"), range(8)))

        assert len({answer["task"] for answer in answers}) == 8
        assert len({answer["made"] for answer in answers if answer["of_snapshot"]}) == 1

    def test_it_is_adopted_by_the_next_engine(self, app: Deployment) -> None:
        before = eventually(lambda: self._lasting(app), within=SOON, what="A fork")

        die_and_rise(app.engine)

        after = look(app, "Lasting")
        assert (after["task"], after["made"]) == (before["task"], before["made"])
        app.engine.modal("container", "stop", "--yes", before["task"]).succeeded()
        eventually(lambda: before["task"] not in [task.task_id for task in app.containers()], within=60, what="Its end")

    def _lasting(self, app: Deployment) -> dict[str, Any] | None:
        answer = look(app, "Lasting")
        if not answer["of_snapshot"]:
            app.engine.modal("container", "stop", "--yes", answer["task"]).succeeded()
        return answer if answer["of_snapshot"] else None

    def test_nothing_of_it_is_left_by_down(self, app: Deployment) -> None:
        restored(app, "State")

        app.engine.stop().succeeded()

        assert not leftovers(app.engine.home)
        app.engine.start()


@pytest.mark.usefixtures("app")
class TestAheadOfNeed:
    def test_containers_that_wait_are_forked_from_it_too(self, engine: Engine) -> None:
        with engine.restarted(spare_containers="8"), deployed(engine, "snapshots.py", name="snapshots-ahead") as app:
            eventually(lambda: list(engine.home.glob("run/tasks/sp-*")), within=SOON, what="A spare")
            first = restored(app, "State")

            def of_spare() -> dict[str, Any] | None:
                eventually(lambda: list(engine.home.glob("run/tasks/sp-*")), within=SOON, what="A spare")
                answer = look(app, "State")
                return answer if answer["of_snapshot"] else None

            answer = eventually(of_spare, within=SOON, what="A fork in a spare") or {}
            assert answer["files"][0] == "by the hook"
            assert first["task"] != answer["task"]
