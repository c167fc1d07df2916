"""Containers that are forked from a process which has imported what they need are like all others, and come sooner."""

import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from conformance.deployment import Deployment, Place, deploy, deployed, versioned
from conformance.engine import Engine
from conformance.leftovers import leftovers
from conformance.test_adoption import die_and_rise, first_process, records
from conformance.waiting import eventually
from freehold.worker.naming import home_key

SOON = 60  # seconds within which a zygote is there, on a busy machine
# Of a process, not of what it may do; and the pid of its parent's neighbours.
_OF_EACH = (
    "Tgid",
    "Pid",
    "NStgid",
    "NSpid",
    "NSpgid",
    "NSsid",
    "Vm",
    "Rss",
    "Huge",
    "voluntary",
    "nonvoluntary",
    "Threads",
    "FDSize",
    "SigQ",
)


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "zygotes.py") as app:
        yield app


def forked(app: Deployment, name: str, *args: Any) -> dict[str, Any]:
    """The answer of the first container of this function that was forked."""

    def ask() -> dict[str, Any] | None:
        answer: dict[str, Any] = app.function(name).remote(*args)
        return answer if answer["forked"] else None

    return eventually(ask, within=SOON, what=f"A fork that answers {name}") or {}


def zygotes_of(engine: Engine) -> list[Path]:
    """The processes that are forked, in /proc: in their containers process 1 is tini, its child watches, and the child of that is it."""
    group = f"/freehold-{home_key(engine.home)}/zy-"
    return [process for process in Path("/proc").glob("[0-9]*") if group in _text(process / "cgroup") and _is_third(process)]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


def _is_third(process: Path) -> bool:
    pids = re.search(r"^NSpid:.*\s(\d+)$", _text(process / "status"), re.MULTILINE)
    parent = re.search(r"^PPid:\s(\d+)$", _text(process / "status"), re.MULTILINE)
    return bool(pids and parent and pids[1] != "1" and "__freehold/init" not in _text(Path(f"/proc/{parent[1]}/cmdline")))


@pytest.fixture(scope="module")
def both(engine: Engine, app: Deployment) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a program sees that is started plainly, and what one that is forked."""
    fork = forked(app, "look")
    with engine.restarted(zygotes="off"):
        plain = app.function("look").remote()
    assert not plain["forked"]
    return plain, fork


class TestIsLikeAnyOther:
    def test_the_kernel_says_the_same_of_it(self, both: tuple[dict[str, Any], dict[str, Any]]) -> None:
        """Capabilities, no_new_privs, the filter of system calls, user and groups: line by line."""
        plain, fork = ([line for line in each["status"].splitlines() if not line.startswith(_OF_EACH)] for each in both)

        assert fork == plain
        assert "CapBnd:\t00000000a80425fb" not in fork  # Docker's, with NET_RAW: it compares something
        assert "NoNewPrivs:\t1" in fork

    @pytest.mark.parametrize(
        "what", ["limits", "groups", "mounts", "descriptors", "python", "signals", "host", "folder", "session", "mask", "interfaces"]
    )
    def test_a_program_sees_the_same(self, both: tuple[dict[str, Any], dict[str, Any]], what: str) -> None:
        plain, fork = both

        assert fork[what] == plain[what]

    def test_its_environment_is_that_of_the_task_alone(self, both: tuple[dict[str, Any], dict[str, Any]]) -> None:
        ids = {"MODAL_TASK_ID", "MODAL_OVERRIDE_HEADERS"}
        plain, fork = ({name: value for name, value in each["environment"].items() if name not in ids} for each in both)

        assert fork == plain

    def test_its_namespaces_are_its_own(self, app: Deployment) -> None:
        first, second = eventually(lambda: _forked_together(app), within=SOON, what="Two forks at a time")
        machine = {name: str(Path(f"/proc/self/ns/{name}").readlink()) for name in first["namespaces"]}

        for name, own in machine.items():
            assert len({first["namespaces"][name], second["namespaces"][name], own}) == 3, name
        assert first["processes"] <= 4


def _forked_together(app: Deployment) -> list[dict[str, Any]] | None:
    """Neither ends before the other is there: numbers of namespaces that have gone are given out again."""
    answers = list(app.function("look_together").map([Place().name] * 2))
    return answers if all(answer["forked"] for answer in answers) else None


class TestIsKeptFromItsSiblings:
    def test_secrets_of_one_are_not_those_of_another(self, app: Deployment) -> None:
        first, second = forked(app, "first_environment"), forked(app, "second_environment")

        assert (first["environment"]["OF_THE_FIRST"], first["environment"]["SHARED"]) == ("1", "a")
        assert "OF_THE_FIRST" not in second["environment"]
        assert second["environment"]["SHARED"] == "b"

    def test_what_is_read_while_importing_is_that_of_the_task(self, app: Deployment) -> None:
        """It is started plainly, because the zygote has imported the module that reads it."""
        app.function("reads_early_without").remote()
        eventually(lambda: "early" in imports_known(app), within=SOON, what="The module in the list")
        for _ in range(3):
            forked(app, "reads_early_without")
            assert app.function("reads_early").remote()["seen"] == "now"
            assert app.function("reads_early_without").remote()["seen"] == ""

    def test_chance_is_not_shared(self, app: Deployment) -> None:
        seen = [tuple(forked(app, "chance")["numbers"]) for _ in range(3)]

        assert len(set(seen)) == 3

    def test_files_of_one_are_not_seen_by_another(self, app: Deployment) -> None:
        assert [forked(app, "write", "a-file")["seen"] for _ in range(2)] == [[], []]

    def test_one_that_wants_too_much_memory_ends_alone(self, app: Deployment) -> None:
        forked(app, "eat", 1)
        before = zygotes_of(app.engine)

        with pytest.raises(Exception, match=r"(?i)memory"):
            app.function("eat").remote(1000)

        assert forked(app, "eat", 1)["size"] == 1 << 20
        assert set(before) & set(zygotes_of(app.engine))

    def test_apps_never_share(self, engine: Engine, app: Deployment) -> None:
        forked(app, "look")
        before = set(zygotes_of(engine))
        with deployed(engine, "zygotes.py", name="zygotes-other") as other:
            forked(other, "look")

            assert set(zygotes_of(engine)) - before


class TestEnds:
    @pytest.mark.parametrize(
        ("how", "status"), [({"code": 3}, "3"), ({"number": signal.SIGKILL}, "137"), ({"number": signal.SIGSEGV}, "139")]
    )
    def test_its_exit_status_is_that_of_the_program(self, app: Deployment, how: dict[str, int], status: str) -> None:
        forked(app, "chance")
        with pytest.raises(Exception, match=rf"\b{status}\b"):
            app.function("end").remote(**how)

        eventually(lambda: "ends forked=True" in app.logs(), within=60, what="Its last words")

    def test_exit_hooks_run_when_it_is_stopped(self, app: Deployment) -> None:
        polite = app.cls("Polite")()
        eventually(lambda: _stopped(app, polite), within=SOON, what="A fork")

        answer = polite.hello.remote()
        app.engine.modal("container", "stop", "--yes", answer["task"]).succeeded()

        eventually(lambda: f"bye of {answer['task']}" in app.logs(), within=60, what="The exit hook")

    def test_tasks_live_on_without_their_zygote(self, app: Deployment) -> None:
        before = eventually(lambda: _lasting(app), within=SOON, what="A fork")
        with ThreadPoolExecutor(1) as callers:
            call = callers.submit(app.function("lasting").remote, 3)
            for process in zygotes_of(app.engine):
                os.kill(int(process.name), signal.SIGKILL)

            assert call.result(60)["task"] == before["task"]
        assert app.function("lasting").remote()["task"] == before["task"]
        forked(app, "chance")  # there is a new one

    def test_an_end_without_its_zygote_is_told(self, app: Deployment) -> None:
        before = eventually(lambda: _lasting(app), within=SOON, what="A fork")
        for process in zygotes_of(app.engine):
            os.kill(int(process.name), signal.SIGKILL)

        app.engine.modal("container", "stop", "--yes", before["task"]).succeeded()

        eventually(lambda: before["task"] not in [task.task_id for task in app.containers()], within=60, what="Its end")

    def test_it_is_adopted_by_the_next_engine(self, app: Deployment) -> None:
        before = eventually(lambda: _lasting(app), within=SOON, what="A fork")

        for _ in range(2):
            die_and_rise(app.engine)

        assert app.function("lasting").remote()["task"] == before["task"]
        app.engine.modal("container", "stop", "--yes", before["task"]).succeeded()
        eventually(lambda: before["task"] not in [task.task_id for task in app.containers()], within=60, what="Its end")
        assert eventually(lambda: _lasting(app), within=SOON, what="A fork")["task"] != before["task"]

    def test_one_that_died_with_its_engine_is_replaced(self, app: Deployment) -> None:
        before = eventually(lambda: _lasting(app), within=SOON, what="A fork")
        record = records(app.engine)[before["task"]]
        app.engine.kill()
        os.kill(first_process(record), signal.SIGKILL)

        app.engine.start()

        assert app.function("lasting").remote()["task"] != before["task"]


def _lasting(app: Deployment) -> dict[str, Any] | None:
    """The lasting container, if it was forked. One that was not goes."""
    answer: dict[str, Any] = app.function("lasting").remote()
    if answer["forked"]:
        return answer
    app.engine.modal("container", "stop", "--yes", answer["task"]).succeeded()
    return None


def _stopped(app: Deployment, polite: Any) -> bool:
    answer = polite.hello.remote()
    if not answer["forked"]:
        app.engine.modal("container", "stop", "--yes", answer["task"]).succeeded()
    return bool(answer["forked"])


def imports_known(app: Deployment) -> str:
    return "".join(path.read_text() for path in app.engine.home.glob(f"imports/*.{app.app_id}.json"))


class TestWhatIsImported:
    def test_what_starts_were_seen_to_import_is_there_already(self, app: Deployment) -> None:
        eventually(lambda: "quiet" in app.function("quiet").remote()["early"], within=SOON, what="A module that is there")

    def test_so_is_what_fastapi_imports_with_its_first_app_and_request(self, app: Deployment) -> None:
        function = app.function("page")
        url = function.get_web_url()
        assert url
        page = Request(app.engine.gateway_url, headers={"Host": url.removeprefix("http://").rstrip("/")})

        def early() -> bool:
            with urlopen(page, timeout=60) as answer:
                told = json.load(answer)
            app.rest()  # for the next is to be asked in another container
            return bool(told["early"] == ["anyio._backends._asyncio", "pydantic.v1"])

        eventually(early, within=SOON, what="Both modules before the app")

    @pytest.mark.parametrize("name", ["threaded", "fails_early"])
    def test_what_must_not_be_imported_before_is_not(self, app: Deployment, name: str) -> None:
        """The others are, and the function works as ever."""
        answer = eventually(lambda: _early(app, name, "quiet"), within=SOON, what="The other module")

        assert name not in answer["early"]
        assert answer["forked"]

    def test_a_module_that_hangs_holds_up_no_start(self, app: Deployment) -> None:
        for _ in range(4):
            assert app.function("hangs_early").spawn().get(timeout=60)["early"] in ([], ["quiet"]), "loading may take longer than that"

    def test_the_apps_own_modules_come_first(self, engine: Engine) -> None:
        with deployed(engine, "zygotes_hidden.py") as app:
            app.function("of_the_image").remote()
            eventually(lambda: app.function("of_the_image").remote() == ("the image", True), within=SOON, what="A fork")
            for _ in range(4):
                assert app.function("of_the_app").remote()[0] == "the app"

    def test_a_change_of_code_is_seen_at_once(self, engine: Engine, tmp_path: Path) -> None:
        with deployed(engine, "zygotes.py", name="zygotes-changed") as app:
            assert forked(app, "version")["version"] == 1

            deploy(engine, versioned("zygotes.py", tmp_path, VERSION=2), name="zygotes-changed")

            assert [app.function("version").remote()["version"] for _ in range(3)] == [2, 2, 2]
            assert forked(app, "version")["version"] == 2


def _early(app: Deployment, name: str, other: str) -> dict[str, Any] | None:
    answer: dict[str, Any] = app.function(name).remote()
    return answer if other in answer["early"] else None


class TestIsTold:
    def test_how_a_container_was_started_is_in_its_story(self, engine: Engine, app: Deployment) -> None:
        task = forked(app, "chance")["task"]

        eventually(lambda: "'start': 'forked'" in story(engine, task), within=60, what="Its story")

    def test_why_it_was_not_forked_is_too(self, engine: Engine, both: tuple[dict[str, Any], dict[str, Any]]) -> None:
        plain, _ = both

        assert "switched off" in story(engine, plain["task"])


def story(engine: Engine, task_id: str) -> str:
    return str(engine.story(task_id))


@pytest.fixture(scope="module")
def ahead(engine: Engine, app: Deployment) -> Iterator[Deployment]:
    with engine.restarted(spare_containers="8"):
        yield app


class TestAheadOfNeed:
    """A function that was called lately has one container more than it uses, which no task has yet."""

    def test_the_next_task_gets_it(self, ahead: Deployment) -> None:
        answer = eventually(lambda: _from_spare(ahead), within=SOON, what="A task in a spare")

        assert answer["forked"]

    def test_one_in_a_spare_is_adopted_and_stopped_like_any_other(self, ahead: Deployment) -> None:
        before = eventually(lambda: _from_spare(ahead), within=SOON, what="A task in a spare")

        die_and_rise(ahead.engine)

        assert ahead.function("lasting").remote()["task"] == before["task"]
        ahead.engine.modal("container", "stop", "--yes", before["task"]).succeeded()
        eventually(lambda: before["task"] not in [task.task_id for task in ahead.containers()], within=60, what="Its end")

    @pytest.mark.parametrize(("function", "path"), [("page", ""), ("files", "/passwd")])
    def test_web_functions_are_served_from_it(self, ahead: Deployment, function: str, path: str) -> None:
        url = ahead.function(function).get_web_url()
        assert url
        host = url.removeprefix("http://").rstrip("/")
        for _ in range(3):
            with urlopen(Request(ahead.engine.gateway_url + path, headers={"Host": host}), timeout=60) as page:
                assert page.read()
            for task in ahead.containers():
                ahead.engine.modal("container", "stop", "--yes", task.task_id)  # if it has not gone by itself
            eventually(lambda: spares(ahead.engine), within=SOON, what="A spare")

    def test_nothing_of_it_is_left_by_down(self, ahead: Deployment) -> None:
        ahead.function("chance").remote()
        eventually(lambda: spares(ahead.engine), within=SOON, what="A spare")

        ahead.engine.stop().succeeded()

        assert not leftovers(ahead.engine.home)
        ahead.engine.start()


def spares(engine: Engine) -> list[Path]:
    return list(engine.home.glob("run/tasks/sp-*"))


def _from_spare(app: Deployment) -> dict[str, Any] | None:
    """The lasting container, if it was made ahead of need. One that was not goes."""
    answer: dict[str, Any] = app.function("lasting").remote()
    if json.loads(records(app.engine)[answer["task"]].read_text())["container_id"].startswith("sp-"):
        return answer
    app.engine.modal("container", "stop", "--yes", answer["task"]).succeeded()
    eventually(lambda: spares(app.engine), within=SOON, what="A spare")
    return None
