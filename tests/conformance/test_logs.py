"""Logs: what every container prints is kept, told apart, and found again by the CLI and the SDK."""

import asyncio
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import modal
import pytest
from modal_proto import api_pb2

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.waiting import eventually

OUT, ERR, SYSTEM = api_pb2.FILE_DESCRIPTOR_STDOUT, api_pb2.FILE_DESCRIPTOR_STDERR, api_pb2.FILE_DESCRIPTOR_INFO


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "logs.py") as deployment:
        yield deployment


def items(app: Deployment, search: str, **filters: Any) -> Sequence[Any]:
    """Lines of the app with a text in them, oldest first, as the engine answers them."""
    request = api_pb2.AppFetchLogsRequest(app_id=app.app_id, limit=1000, search_text=search, **filters)
    return [item for batch in app.engine.call("AppFetchLogs", request).batches for item in batch.items]


def lines(app: Deployment, search: str, count: int, **filters: Any) -> Sequence[Any]:
    """As above, once there are so many: output comes a little later than results."""
    return eventually(
        lambda: found if len(found := items(app, search, **filters)) >= count else None, within=60, what=f"{count} lines with {search!r}"
    )


def said(app: Deployment, *options: str) -> list[str]:
    return app.engine.modal("app", "logs", app.name, *options).succeeded().output.splitlines()


class TestWhoseOutput:
    async def test_inputs_that_run_at_once_have_their_own_lines(self, app: Deployment) -> None:
        await self._are_apart(app, "talk_together", "together")

    async def test_inputs_in_threads_have_their_own_lines(self, app: Deployment) -> None:
        await self._are_apart(app, "talk_in_threads", "threads")

    async def _are_apart(self, app: Deployment, name: str, word: str) -> None:
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(app.function(name).remote.aio(number)) for number in range(10)]
        input_ids = [call.result() for call in calls]
        printed = lines(app, word, 50)
        for number, input_id in enumerate(input_ids):
            own = [item.data.split()[1] for item in printed if item.input_id == input_id]
            assert own == [f"{number}.{step}" for step in range(5)]

    async def test_a_batch_is_its_calls(self, app: Deployment) -> None:
        assert sorted([x async for x in app.function("talk_as_batch").map.aio(range(4))]) == [0, 1, 2, 3]
        printed = lines(app, "batch of", 1)
        assert len({item.function_call_id for item in printed} - {""}) == 1
        assert all(not item.input_id for item in printed if item.data != "batch of 1\n")

    async def test_a_line_that_is_read_after_the_next_input_began_is_not_the_nexts(self, app: Deployment) -> None:
        for number in range(30):
            await app.function("talk").remote.aio(f"quick-{number}")
        by_call: dict[str, set[str]] = {}
        for item in lines(app, "quick-", 150):
            by_call.setdefault(item.function_call_id, set()).add(item.data.split()[0])
        assert len(by_call) == 30
        assert all(len(words) == 1 for words in by_call.values())

    async def test_output_that_bypasses_python_belongs_to_the_only_input(self, app: Deployment) -> None:
        call = await app.function("talk_elsewhere").spawn.aio("bypass")
        await call.get.aio()
        assert {item.function_call_id for item in lines(app, "bypass", 3)} == {call.object_id}

    async def test_bytes_that_look_like_ours_are_the_users(self, app: Deployment) -> None:
        await app.function("look_like_marks").remote.aio()
        assert lines(app, "\x1eb\x1e", 1)[0].data == "a\x1eb\x1e\x1ec\n"


class TestOrder:
    async def test_both_streams_are_in_the_order_in_which_they_were_printed(self, app: Deployment) -> None:
        await app.function("talk").remote.aio("ordered")
        printed = lines(app, "ordered", 5)
        assert [(item.file_descriptor, item.data.split()[2]) for item in printed] == [
            (OUT, "1"), (ERR, "2"), (OUT, "3"), (ERR, "4"), (OUT, "5"),
        ]  # fmt: skip
        assert [item.timestamp_ns for item in printed] == sorted(item.timestamp_ns for item in printed)

    async def test_last_words_arrive_and_the_engine_says_how_it_ended(self, app: Deployment) -> None:
        call = await app.function("exit_at_once").spawn.aio("dying")
        with pytest.raises(modal.exception.Error):
            await call.get.aio()
        lines(app, "exited with code 7", 1, function_call_id=call.object_id)
        printed = items(app, "", function_call_id=call.object_id)
        assert [(item.file_descriptor, item.data) for item in printed[:3]] == [
            (OUT, "dying last words\n"),
            (OUT, "dying unfinished"),
            (SYSTEM, "The container exited with code 7.\n"),
        ]

    async def test_a_container_that_is_killed_for_its_memory_says_so(self, app: Deployment) -> None:
        call = await app.function("eat").spawn.aio("eater")
        with pytest.raises(modal.exception.Error):
            await call.get.aio()
        lines(app, "ran out of memory", 1, function_call_id=call.object_id)
        printed = [item.data for item in items(app, "", function_call_id=call.object_id)]
        assert printed[:2] == ["eater is hungry\n", "The container ran out of memory and was killed.\n"]

    def test_the_last_words_of_a_run_are_printed_before_it_ends(self, engine: Engine, app: Deployment) -> None:
        run = engine.modal("run", "logs.py::exit_at_once", "--word", "goodbye")
        assert run.code != 0
        assert run.output.index("goodbye last words") < run.output.index("The container exited with code 7.")


@pytest.fixture(scope="module")
def task_id(app: Deployment) -> str:
    """A container that has said its five lines about commands."""
    task_id = app.function("talk").remote("commands")
    lines(app, "commands", 5)
    return str(task_id)


class TestCommands:
    """`modal app logs`, `modal function logs` and `modal container logs`."""

    def test_tail_is_of_lines(self, app: Deployment, task_id: str) -> None:
        assert said(app, "--tail", "2", "--search", "commands") == ["commands log 4", "commands out 5"]

    def test_source(self, app: Deployment, task_id: str) -> None:
        assert said(app, "--source", "stderr", "--search", "commands") == ["commands err 2", "commands log 4"]

    def test_search_minds_case(self, app: Deployment, task_id: str) -> None:
        assert said(app, "--search", "commands OUT") == []

    def test_since_and_until(self, app: Deployment, task_id: str) -> None:
        now = datetime.now(UTC) + timedelta(seconds=5)
        assert len(said(app, "--since", "1h", "--search", "commands")) == 5
        assert len(said(app, "--until", now.isoformat(), "--since", "30m", "--search", "commands")) == 5
        assert said(app, "--until", "2h", "--search", "commands") == []

    def test_function(self, app: Deployment, task_id: str) -> None:
        function_id = app.function("talk").hydrate().object_id
        assert len(said(app, "--function", function_id, "--search", "commands")) == 5
        assert said(app, "--function", app.function("eat").hydrate().object_id, "--search", "commands") == []

    def test_function_call(self, app: Deployment, task_id: str) -> None:
        call = app.function("talk").spawn("by-call")
        call.get()
        lines(app, "by-call", 5)
        assert len(said(app, "--function-call", call.object_id)) == 5

    def test_container_with_every_prefix(self, app: Deployment, task_id: str) -> None:
        found = said(
            app, "--container", task_id, "--search", "commands", "--timestamps",
            "--show-function-id", "--show-function-call-id", "--show-container-id",
        )  # fmt: skip
        assert len(found) == 5
        assert all(re.match(r"\d{4}-\d\d-\d\d.* fu-\w+ fc-\w+ ta-\w+ commands ", line) for line in found), found

    def test_modal_function_logs(self, app: Deployment, task_id: str) -> None:
        found = app.engine.modal("function", "logs", f"{app.name}/talk", "--search", "commands").succeeded().output
        assert len(found.splitlines()) == 5
        assert "commands" not in app.engine.modal("function", "logs", f"{app.name}/eat").succeeded().output

    def test_modal_function_logs_by_id(self, app: Deployment, task_id: str) -> None:
        function_id = app.function("talk").hydrate().object_id
        found = app.engine.modal("function", "logs", function_id, "--search", "commands", "--all-variants").succeeded().output
        assert len(found.splitlines()) == 5

    def test_modal_container_logs(self, app: Deployment, task_id: str) -> None:
        for options in (["--all"], ["--since", "1h"], ["--tail", "50", "--source", "stdout"], ["--search", "commands"]):
            assert "commands out 5" in app.engine.modal("container", "logs", task_id, *options).succeeded().output

    def test_a_container_that_has_ended_has_its_logs_still_and_following_it_ends(self, app: Deployment) -> None:
        task_id = app.function("talk").remote("ended")
        lines(app, "ended", 5)
        app.engine.modal("container", "stop", "--yes", task_id).succeeded()
        eventually(lambda: task_id not in {task.task_id for task in app.containers()}, within=60, what="The end of the container")
        assert "ended out 5" in app.engine.modal("container", "logs", task_id).succeeded().output
        assert "ended out 5" in app.engine.modal("container", "logs", "--follow", task_id, within=90).succeeded().output

    def test_follow_shows_the_end_of_what_is_there_and_then_what_comes(self, app: Deployment) -> None:
        for number in range(40):
            app.function("talk").remote(f"history-{number}")
        lines(app, "history-", 200)
        with app.engine.start_modal("app", "logs", "--follow", app.name) as following:
            following.line("history-39 out 5")
            app.function("talk").remote("fresh")
            following.line("fresh out 5")
        assert "history-0 " not in following.output
        assert following.output.count("fresh out 5") == 1

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["app", "logs", "no-such-app"], "no-such-app"),
            (["app", "logs", "logs", "--since", "yesterday"], "Invalid time format"),
            (["app", "logs", "logs", "--since", "1h", "--until", "2h"], "must be before"),
            (["app", "logs", "logs", "--since", "50d"], "cannot exceed 35 days"),
            (["app", "logs", "logs", "--tail", "0"], "must be positive"),
            (["app", "logs", "logs", "--follow", "--tail", "3"], "cannot be combined"),
            (["app", "logs", "logs", "--source", "stdin"], "Invalid source"),
            (["app", "logs", "ap-0000000000000000000000"], "ap-0000000000000000000000"),
            (["container", "logs", "ta-0000000000000000000000"], "ta-0000000000000000000000"),
            (["container", "logs", "--follow", "ta-0000000000000000000000"], "ta-0000000000000000000000"),
            (["container", "logs", "nonsense"], "Invalid container ID"),
            (["function", "logs", "logs/no_such_function"], "no_such_function"),
        ],
    )
    def test_wrong_input_is_told_what_is_wrong(self, app: Deployment, arguments: list[str], words: str) -> None:
        finished = app.engine.modal(*arguments, within=60)
        assert finished.code != 0
        assert words in finished.output
        assert "Traceback" not in finished.output

    def test_a_filter_that_nothing_matches_answers_nothing(self, app: Deployment) -> None:
        for option, value in (("--function", "fu-none"), ("--container", "ta-none"), ("--function-call", "fc-none"), ("--search", "\\no")):
            assert said(app, option, value) == []


class TestSdk:
    """`app.logs`, `Function.logs`, `FunctionCall.logs`."""

    async def test_fetch_and_tail_of_a_function(self, app: Deployment) -> None:
        began = datetime.now(UTC) - timedelta(seconds=1)
        function = app.function("talk")
        await function.remote.aio("sdk")
        lines(app, "sdk", 5)
        fetched = [entry async for entry in function.logs.fetch.aio(since=began, search_text="sdk")]
        assert [entry.message for entry in fetched] == ["sdk out 1\n", "sdk err 2\n", "sdk out 3\n", "sdk log 4\n", "sdk out 5\n"]
        assert [entry.source for entry in fetched] == ["stdout", "stderr", "stdout", "stderr", "stdout"]
        assert all(began <= entry.timestamp <= datetime.now(UTC) for entry in fetched)
        assert [len(entry.context_ids) for entry in fetched] == [3] * 5, "call, input and container"
        tail = [entry.message async for entry in function.logs.tail.aio(2, source="stdout")]
        assert tail == ["sdk out 3\n", "sdk out 5\n"]

    async def test_fetch_of_an_app(self, app: Deployment) -> None:
        await app.function("talk").remote.aio("whole-app")
        lines(app, "whole-app", 5)
        live = await modal.App.lookup.aio(app.name)
        since = datetime.now(UTC) - timedelta(minutes=10)
        assert len([entry async for entry in live.logs.fetch.aio(since=since, search_text="whole-app")]) == 5

    async def test_streaming_a_function_ends_when_it_is_silent(self, app: Deployment) -> None:
        function = app.function("talk")
        heard: list[str] = []

        async def listen() -> None:
            async for entry in function.logs.stream.aio(timeout=8):
                heard.append(entry.message)  # noqa: PERF401 — others look meanwhile

        async with asyncio.timeout(100), asyncio.TaskGroup() as group:
            listening = group.create_task(listen())
            while not heard and not listening.done():
                await function.remote.aio("is anybody there")
                await asyncio.sleep(0.1)
            await function.remote.aio("streamed")
        assert [message for message in heard if "streamed" in message] == [
            "streamed out 1\n", "streamed err 2\n", "streamed out 3\n", "streamed log 4\n", "streamed out 5\n",
        ]  # fmt: skip

    async def test_the_tail_of_a_call(self, app: Deployment) -> None:
        call = await app.function("talk").spawn.aio("one-call")
        await call.get.aio()
        await app.function("talk").remote.aio("another")
        lines(app, "another", 5)
        assert [entry.message async for entry in call.logs.tail.aio(100)] == [
            "one-call out 1\n", "one-call err 2\n", "one-call out 3\n", "one-call log 4\n", "one-call out 5\n",
        ]  # fmt: skip

    async def test_a_call_is_fetched_from_its_beginning_and_streamed_to_its_end(self, app: Deployment) -> None:
        call = await app.function("talk").spawn.aio("whole-call")
        async with asyncio.timeout(60):
            streamed = [entry.message async for entry in call.logs.stream.aio()]
        await app.function("talk").remote.aio("another")
        fetched = [entry.message async for entry in call.logs.fetch.aio()]
        assert streamed == fetched == [f"whole-call {what}\n" for what in ("out 1", "err 2", "out 3", "log 4", "out 5")]


def test_a_follower_who_comes_back_gets_each_line_once(app: Deployment) -> None:
    for number in range(20):
        app.function("talk").remote(f"again-{number}")
    lines(app, "again-", 100)
    heard, last = [], "1"
    expected = [f"again-{number} {what}\n" for number in range(20) for what in ("out 1", "err 2", "out 3", "log 4", "out 5")]
    while len(heard) < len(expected):
        request = api_pb2.AppGetLogsRequest(app_id=app.app_id, function_call_id="", timeout=30, last_entry_id=last)
        batch = app.engine.call("AppGetLogs", request, timeout=60)  # the first of the stream: then the connection breaks
        heard += [item.data for item in batch.items if "again-" in item.data]
        last = batch.entry_id
    assert sorted(heard) == sorted(expected)


@pytest.mark.parametrize(
    "line", [pytest.param(100, id="in lines"), pytest.param(0, id="in one line", marks=pytest.mark.long(reason="it floods for a while"))]
)
def test_a_flood_fills_no_disk_and_slows_no_neighbour(app: Deployment, line: int) -> None:
    """64 MiB are kept of it, at most; the container that prints waits, and the others do not."""
    folder = app.engine.home / "logs" / "apps" / app.app_id
    add_one = app.function("add_one")
    add_one.remote(0)
    memory = _memory(app.engine)
    call = app.function("flood").spawn(14, line)
    eventually(lambda: any("yyyy" in item.data or "zzzz" in item.data for item in items(app, "")[-5:]), within=60, what="The flood")
    flooded, quiet = _medians_by_second(add_one, seconds=10)
    grown = _memory(app.engine) - memory
    kept = sum(path.stat().st_size for path in folder.iterdir())
    figures = f"{call.get() >> 20} MiB: quiet {quiet:.2f} ms, flooded {flooded:.2f} ms, disk {kept >> 20} MiB, memory +{grown >> 20} MiB"
    sys.stderr.write(f"{figures}\n")
    assert flooded < 10 * quiet, f"aimed at is twice, but this machine may be busy otherwise: {figures}"
    assert kept < 70 * 1024 * 1024
    assert grown < 100 * 1024 * 1024


def _medians_by_second(function: modal.Function, seconds: float) -> tuple[float, float]:
    """Milliseconds of a call while the flood runs, and in the seconds between; without those that lie at the edges."""
    took: dict[bool, list[float]] = {True: [], False: []}
    end = time.time() + seconds
    while (began := time.time()) < end:
        assert function.remote(1) == 2
        if 0.1 < began % 1 < 0.9:
            took[bool(int(began) % 2)].append((time.time() - began) * 1000)
    return statistics.median(took[True]), statistics.median(took[False])


def _memory(engine: Engine) -> int:
    """Bytes of the engine's process, as the kernel counts them."""
    pages = int(Path(f"/proc/{engine.pid}/statm").read_text().split()[1])
    return pages * 4096
