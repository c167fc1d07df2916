"""Containers go on when their engine is killed, and the next one takes them up again."""

import json
import os
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import modal
import pytest

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.leftovers import leftovers
from conformance.pages import AppPage
from conformance.sites import browser
from conformance.waiting import eventually


@pytest.fixture(scope="module")
def module_app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "adoption.py") as app:
        yield app


@pytest.fixture
def app(module_app: Deployment) -> Deployment:
    """With no container of an earlier test."""
    module_app.rest()
    return module_app


def ids(app: Deployment) -> Sequence[str]:
    return [task.task_id for task in app.containers()]


def die_and_rise(engine: Engine, *, after: float = 0) -> None:
    engine.kill()
    time.sleep(after)
    engine.start()


def records(engine: Engine) -> dict[str, Path]:
    return {path.parent.name: path for path in engine.home.glob("run/tasks/*/record.json")}


def first_process(record: Path) -> int:
    return int(json.loads(record.read_text())["mark"]["pid"])


class TestGoesOn:
    @pytest.mark.parametrize("away", [0, 3])
    def test_a_warm_container_stays_warm(self, app: Deployment, away: float) -> None:
        container, _ = app.function("remember").remote("before")

        die_and_rise(app.engine, after=away)

        assert app.function("remember").remote("after") == (container, ["before", "after"])
        assert ids(app) == [container]

    def test_an_instance_of_a_class_keeps_its_state(self, app: Deployment) -> None:
        """Its function is in no layout: it was made when it was first asked for."""
        counter = app.cls("Counter")(start=10)
        assert [counter.next.remote() for _ in range(2)] == [11, 12]

        die_and_rise(app.engine)

        assert counter.next.remote() == 13

    async def test_a_web_endpoint_answers_again(self, app: Deployment) -> None:
        url = await app.url("site")
        async with browser() as site:
            async with site.get(url) as response:
                container = await response.json()

            die_and_rise(app.engine)

            async with site.get(url) as response:
                assert await response.json() == container

    def test_it_survives_the_death_of_several_engines(self, app: Deployment) -> None:
        container, _ = app.function("remember").remote("first")

        for _ in range(3):
            die_and_rise(app.engine)

        assert app.function("remember").remote("last") == (container, ["first", "last"])

    def test_a_page_follows_over_the_death_of_its_engine_and_ends_with_its_end(self, app: Deployment) -> None:
        words = [f"{secrets.token_hex(4)} {number}" for number in range(3)]
        page = AppPage(app.engine, app.app_id)
        app.function("remember").remote(words[0])
        page.read_until(lambda: bool(page.contents) and f"told {words[0]}" in page.lines)

        die_and_rise(app.engine)
        for word in words[1:]:
            app.function("remember").remote(word)
            page.read_until(lambda word=word: f"told {word}" in page.lines)

        told = [line for line in page.lines if line.removeprefix("told ") in words]
        assert told == [f"told {word}" for word in words], "each once"
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(page.read_to_its_end)
            app.engine.stop().succeeded()
            reading.result(60)
        app.engine.start()

    def test_what_it_prints_meanwhile_is_in_the_log(self, app: Deployment) -> None:
        call = app.function("chatter").spawn(4000)
        eventually(lambda: "begun" in app.logs(), within=60, what="A beginning")

        die_and_rise(app.engine, after=5)

        eventually(lambda: "line 3999 " in app.logs(), within=60, what="The last line")
        assert modal.FunctionCall.from_id(call.object_id).get(timeout=60) == 4000

    def test_it_is_stopped_like_any_other(self, app: Deployment) -> None:
        container, _ = app.function("remember").remote("before")
        die_and_rise(app.engine)

        app.engine.modal("container", "stop", "--yes", container).succeeded()

        eventually(lambda: not app.containers(), within=60, what="No container")
        assert app.function("remember").remote("after")[1] == ["after"]

    def test_an_input_that_takes_long_is_run_once(self, app: Deployment) -> None:
        """Its container works on it while no engine is there, and answers the next one."""
        container, _ = app.function("remember").remote("before")
        call = app.function("remember").spawn("long", 8)
        eventually(lambda: "told long" in app.logs(), within=60, what="A beginning")

        die_and_rise(app.engine)

        assert modal.FunctionCall.from_id(call.object_id).get(timeout=60) == (container, ["before", "long"])
        assert app.function("remember").remote("after") == (container, ["before", "long", "after"])

    def test_a_caller_that_waits_gets_the_answer_of_the_container_that_was_at_work(self, app: Deployment) -> None:
        """Its input is sent again to an engine that knows nothing of it, and must not be run twice."""
        container, _ = app.function("remember").remote("before")
        waiting = app.function("remember").remote
        with ThreadPoolExecutor(1) as callers:
            answer = callers.submit(waiting, "long", 10)
            eventually(lambda: "told long" in app.logs(), within=60, what="A beginning")
            app.engine.kill_engine()

            assert answer.result(120) == (container, ["before", "long"])
        assert ids(app) == [container]


class TestDoesNotGoOn:
    def test_one_that_ended_meanwhile_is_replaced_and_its_log_is_kept(self, app: Deployment) -> None:
        container, _ = app.function("remember").remote("a-word-in-the-log")
        eventually(lambda: "told a-word-in-the-log" in app.logs(), within=60, what="It in the log")
        record = records(app.engine)[container]
        app.engine.kill()
        os.kill(first_process(record), signal.SIGKILL)

        app.engine.start()

        replaced, seen = app.function("remember").remote("after")
        assert (replaced != container, seen) == (True, ["after"])
        assert "told a-word-in-the-log" in app.logs()

    def test_one_that_this_version_does_not_understand_is_replaced(self, app: Deployment) -> None:
        container, _ = app.function("remember").remote("before")
        record = records(app.engine)[container]
        app.engine.kill()
        pid = first_process(record)
        record.write_text(json.dumps(json.loads(record.read_text()) | {"format": 0}))

        app.engine.start()

        assert app.function("remember").remote("after")[1] == ["after"]
        eventually(lambda: not Path(f"/proc/{pid}/root/bin").exists(), within=60, what="The end of the old one")

    def test_down_after_a_kill_ends_it(self, app: Deployment) -> None:
        app.function("remember").remote("before")
        app.engine.kill()

        app.engine.freehold("down").succeeded()

        assert not leftovers(app.engine.home)
        assert not records(app.engine)
        app.engine.start()
        assert app.function("remember").remote("after")[1] == ["after"]

    def test_down_ends_what_was_adopted(self, app: Deployment) -> None:
        app.function("remember").remote("before")
        die_and_rise(app.engine)

        app.engine.stop().succeeded()

        assert not leftovers(app.engine.home)
        app.engine.start()
