"""Logs: kept in segments, bounded, read from any place, followed until they are done."""

import asyncio
import errno
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import FileIO

import pytest
import structlog
from fakes.clock import FakeClock

from freehold.control.controllers.retention import Retention
from freehold.domain.logs import LogEntry, LogFilter, LogSource
from freehold.domain.tasks import ExitKind, TaskExit
from freehold.store import log_segments, log_writer
from freehold.store.logs import LogStore

_LIMIT = 64 * 1024


@pytest.fixture
def store(tmp_path):
    store = LogStore(tmp_path, bytes_per_log=_LIMIT)
    yield store
    store.close()


def entries(*texts, **fields):
    return [replace(LogEntry(at=1.0, source=LogSource.STDOUT, text=text), **fields) for text in texts]


def texts(items):
    return [item.entry.text for item in items]


class TestStore:
    def test_entries_are_numbered_from_one_and_read_after_a_number(self, store):
        store.append("ap-1", entries("a", "b", "c"))
        assert [(item.number, item.entry.text) for item in store.after("ap-1", 1)] == [(2, "b"), (3, "c")]

    def test_logs_of_two_subjects_are_apart(self, store):
        store.append("ap-1", entries("a"))
        store.append("ap-2", entries("b"))
        assert texts(store.after("ap-2", 0)) == ["b"]

    def test_every_field_survives_a_restart_and_numbers_go_on(self, store, tmp_path):
        entry = LogEntry(at=2.5, source=LogSource.STDERR, text="ünï\n", task_id="t", function_id="f", input_id="i", call_id="c")
        store.append("ap-1", [entry])
        store.close()
        reopened = LogStore(tmp_path, bytes_per_log=_LIMIT)
        reopened.append("ap-1", entries("next"))
        assert [(item.number, item.entry.text) for item in reopened.after("ap-1", 0)] == [(1, "ünï\n"), (2, "next")]
        assert reopened.after("ap-1", 0)[0].entry == entry
        reopened.close()

    def test_a_line_that_a_crash_cut_does_not_spoil_those_after_it(self, store, tmp_path):
        store.append("ap-1", entries("whole", "cut"))
        store.close()
        (path,) = (tmp_path / "ap-1").iterdir()
        path.write_bytes(path.read_bytes()[:-5])
        reopened = LogStore(tmp_path, bytes_per_log=_LIMIT)
        reopened.append("ap-1", entries("after"))
        reopened.close()
        again = LogStore(tmp_path, bytes_per_log=_LIMIT)
        assert texts(again.after("ap-1", 0)) == ["whole", "after"]
        again.close()

    def test_a_log_keeps_its_bound_and_loses_the_oldest_first(self, store, tmp_path):
        for _ in range(100):
            store.append("ap-1", entries(*["x" * 1000] * 10))
        kept = store.after("ap-1", 0, limit=10_000)
        assert sum(path.stat().st_size for path in (tmp_path / "ap-1").iterdir()) <= _LIMIT
        assert kept[-1].number == 1000
        assert kept[0].number > 1

    def test_what_is_in_memory_is_answered_without_the_disk(self, store):
        store.append("ap-1", entries("a", "b"))
        assert texts(store.recent("ap-1", 1)) == ["b"]
        assert store.recent("ap-1", 2) == []
        store.release("ap-1")
        assert (store.recent("ap-1", 1), store.recent("ap-1", 2)) == (None, [])

    def test_long_entries_do_not_fill_the_memory(self, tmp_path):
        store = LogStore(tmp_path, bytes_per_log=64 * 1024 * 1024)
        store.append("ap-1", entries(*["x" * 1024 * 1024] * 6))
        assert store.recent("ap-1", 1) is None
        assert [item.number for item in store.recent("ap-1", 2)] == [3], "a page is about one message, not all that there is"
        store.close()

    def test_entries_that_are_no_longer_in_memory_are_read_from_disk(self, tmp_path):
        store = LogStore(tmp_path, bytes_per_log=1024 * 1024)
        store.append("ap-1", entries(*map(str, range(6000))))
        assert texts(store.after("ap-1", 0, limit=2)) == ["0", "1"]
        assert texts(store.after("ap-1", 5998)) == ["5998", "5999"]
        store.close()

    def test_a_log_that_was_let_go_is_read_and_written_as_before(self, store):
        store.append("ap-1", entries("a"))
        store.release("ap-1")
        store.append("ap-1", entries("b"))
        assert texts(store.after("ap-1", 0)) == ["a", "b"]


class TestReading:
    """Of a log with a segment for each hour."""

    @pytest.fixture
    def hours(self, tmp_path):
        store = LogStore(tmp_path, bytes_per_log=256 * 1024)
        for hour in range(4):
            store.append("ap-1", [entry for i in range(50) for entry in entries(f"{hour}:{i} {'x' * 1200}\n", at=3600.0 * hour + i)])
        store.close()
        assert len(list((tmp_path / "ap-1").iterdir())) == 4
        yield store
        store.close()

    @pytest.fixture
    def was_read(self, monkeypatch):
        """The numbers of the segments that were read."""
        read, whole_lines = [], log_segments._whole_lines
        monkeypatch.setattr(log_segments, "_whole_lines", lambda path: read.append(int(path.stem)) or whole_lines(path))
        return read

    def heads(self, items):
        return [item.entry.text.split()[0] for item in items]

    def test_the_last_lines_are_read_from_the_last_segment_only(self, hours, was_read):
        assert self.heads(hours.newest("ap-1", LogFilter(), 3)) == ["3:47", "3:48", "3:49"]
        assert was_read == [151]

    def test_a_time_span_is_read_from_its_own_segments_only(self, hours, was_read):
        assert self.heads(hours.all("ap-1", LogFilter(since=3620, until=3622), 100)) == ["1:20", "1:21"]
        assert set(was_read) <= {1, 51}, "the one before may hold lines that came late"

    def test_a_page_is_read_from_its_own_segments_only(self, hours, was_read):
        assert self.heads(hours.after("ap-1", 120, limit=2)) == ["2:20", "2:21"]
        assert was_read == [101]

    def test_what_a_power_cut_has_spoilt_is_passed_over(self, hours, tmp_path):
        for path in (tmp_path / "ap-1").iterdir():
            path.write_bytes(b"\0" * 100 + b"\n" + path.read_bytes() + b"\0" * 100 + b"\n[not json\n")
        assert len(hours.after("ap-1", 0)) == 200
        assert len(hours.after("ap-1", 120)) == 80
        assert self.heads(hours.all("ap-1", LogFilter(since=3649, until=7201), 100)) == ["1:49", "2:0"]
        assert self.heads(hours.newest("ap-1", LogFilter(), 1)) == ["3:49"]
        reopened = LogStore(tmp_path, bytes_per_log=256 * 1024)
        reopened.append("ap-1", entries("after"))
        assert [(item.number, item.entry.text) for item in reopened.newest("ap-1", LogFilter(), 1)] == [(201, "after")]
        reopened.close()

    def test_the_last_lines_of_a_time_span(self, hours):
        assert self.heads(hours.newest("ap-1", LogFilter(until=3640), 2)) == ["1:38", "1:39"]

    def test_a_time_span_of_a_log_that_has_nothing_is_empty(self, store):
        assert store.newest("ap-none", LogFilter(since=1.0), 10) == []

    def test_a_search_finds_lines_and_not_what_was_printed_with_them(self, store):
        store.append("ap-1", entries('one\nsay "two" ü\\n\nthree\n'))
        assert texts(store.all("ap-1", LogFilter(search='"two" ü\\n'), 10)) == ['say "two" ü\\n\n']
        assert store.all("ap-1", LogFilter(search="One"), 10) == []

    def test_no_more_lines_than_were_asked_for_even_of_what_was_printed_at_once(self, store):
        store.append("ap-1", entries("a\nb\nc\n"))
        assert texts(store.newest("ap-1", LogFilter(), 2)) == ["b\nc\n"]

    def test_counts_are_of_lines_by_time_and_source(self, store):
        store.append("ap-1", [*entries("a\nb\n", at=59.0), *entries("c\n", at=60.0, source=LogSource.STDERR)])
        assert store.count("ap-1", LogFilter(), 60) == {(0, LogSource.STDOUT): 2, (60, LogSource.STDERR): 1}

    def test_a_flood_counts_by_its_size_so_that_answers_stay_small(self, store):
        """The client fetches 20,000 at a time: of pieces of 64 KB that would be more than a gigabyte."""
        store.append("ap-1", entries("y\n" * 30_000))
        assert store.count("ap-1", LogFilter(), 60) == {(0, LogSource.STDOUT): 1 + 60_000 // 2048}

    def test_what_a_limit_takes_is_what_counting_promised(self, store):
        store.append("ap-1", entries("a\n", "b\nc\n", "d\n"))
        assert texts(store.all("ap-1", LogFilter(), 3)) == ["a\n", "b\nc\n"]


class TestPruning:
    NOW = datetime(2026, 1, 31, tzinfo=UTC)

    def prune(self, store, *, ttl=timedelta(days=30), total_bytes=2**40, now=NOW):
        return store.prune(now, ttl=ttl, total_bytes=total_bytes)

    def test_lines_that_are_too_old_go_whatever_they_belong_to(self, store, tmp_path):
        day = timedelta(days=1)
        for subject, at in (("ap-old", self.NOW - 31 * day), ("im-old", self.NOW - 40 * day), ("ap-new", self.NOW - 29 * day)):
            store.append(subject, entries("a", at=at.timestamp()))
        assert self.prune(store) == 2
        assert [path.name for path in tmp_path.iterdir()] == ["ap-new"]

    def test_the_oldest_of_all_logs_go_until_the_rest_fits(self, tmp_path):
        store = LogStore(tmp_path, bytes_per_log=_LIMIT)
        for at in range(1, 9):
            store.append(f"ap-{at % 2}", entries("x" * 15_000, at=self.NOW.timestamp() + at))
        assert self.prune(store, total_bytes=50_000) == 5
        kept = [item.entry.at - self.NOW.timestamp() for app in ("ap-0", "ap-1") for item in store.after(app, 0)]
        assert sorted(kept) == [6, 7, 8]
        store.close()

    def test_a_log_whose_lines_have_all_gone_goes_on_with_its_numbers(self, store):
        store.append("ap-1", entries("a", "b", at=1.0))
        self.prune(store)
        store.append("ap-1", entries("c", at=self.NOW.timestamp()))
        assert [(item.number, item.entry.text) for item in store.after("ap-1", 0)] == [(3, "c")]

    async def test_a_follower_whose_place_has_gone_goes_on_with_what_is_left(self, plane):
        store = plane.log_store
        plane.logs.append("ap-1", entries("a", at=1.0))
        store.release("ap-1")
        plane.logs.append("ap-1", entries("b", at=self.NOW.timestamp()))
        store.close()
        (segment,) = (store._folder / "ap-1").iterdir()
        _, b = segment.read_bytes().splitlines(keepends=True)
        segment.write_bytes(b)
        segment.rename(segment.with_name("000000000002.jsonl"))
        plane.logs.mark_done("ap-1")
        assert [texts(page) async for page in plane.logs.follow("ap-1", 0, seconds=60)] == [["b"]]

    async def test_the_retention_controller_does_it(self, plane):
        retention = Retention(store=plane.store, blobs=plane.blobs, logs=plane.logs, volumes=plane.volumes, settings=plane.settings)
        plane.logs.append("ap-1", entries("old", at=plane.clock.now().timestamp()))
        plane.clock.move(29 * 24 * 3600)
        await retention.step(plane.clock.now())
        assert texts(plane.log_store.after("ap-1", 0)) == ["old"]
        plane.clock.move(2 * 24 * 3600)
        await retention.step(plane.clock.now())
        assert plane.log_store.after("ap-1", 0) == []


class TestBadDisks:
    def test_a_folder_that_takes_nothing_is_reported_once_and_tried_again(self, store, tmp_path):
        (tmp_path / "ap-1").write_text("no folder")
        with structlog.testing.capture_logs() as said:
            for text in "abc":
                store.append("ap-1", entries(text))
            store._writer.flush()
            assert texts(store.recent("ap-1", 0)) == ["a", "b", "c"], "those who follow miss nothing"
            (tmp_path / "ap-1").unlink()
            store.append("ap-1", entries("d"))
            assert texts(store.after("ap-1", 0)) == ["d"]
        assert [line["event"] for line in said] == ["logs_not_kept", "logs_kept_again"]

    def test_a_full_disk_leaves_no_half_line_behind(self, store, monkeypatch):
        store.append("ap-1", entries("before"))
        store._writer.flush()
        whole = FileIO.write

        class Full(FileIO):
            def write(self, data):
                whole(self, data[:10])
                raise OSError(errno.ENOSPC, "No space left on device")

        store.release("ap-1")
        monkeypatch.setattr(log_writer, "FileIO", Full)
        store.append("ap-1", entries("lost"))
        store._writer.flush()
        monkeypatch.setattr(log_writer, "FileIO", FileIO)
        store.append("ap-1", entries("after"))
        assert texts(store.after("ap-1", 0)) == ["before", "after"]

    def test_a_slow_disk_holds_up_nobody_and_fills_no_memory(self, store, monkeypatch):
        monkeypatch.setattr(log_writer, "_WAITING_BYTES", 1000)
        with store._writer._files:  # as long as this is held, the disk takes nothing
            for number in range(10):
                store.append("ap-1", entries(f"{number}{'x' * 300}\n"))
        store._writer.flush()
        store.append("ap-1", entries("again\n"))
        kept = store.after("ap-1", 0)
        assert [item.entry.text[0] for item in kept] == ["0", "1", "2", "7", "a"]
        assert kept[-2].entry == LogEntry(
            at=1.0, source=LogSource.SYSTEM, text="7 lines are missing here: the disk was too slow for them.\n"
        )


class TestFollowing:
    async def test_a_follower_gets_what_is_there_and_what_comes(self, plane):
        plane.logs.append("ap-1", entries("a"))
        pages = plane.logs.follow("ap-1", 0, seconds=60)
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            assert texts(await anext(pages)) == ["a"]
            coming = group.create_task(anext(pages))
            await asyncio.sleep(0)
            plane.logs.append("ap-1", entries("b"))
        assert texts(coming.result()) == ["b"]
        await pages.aclose()

    async def test_following_ends_with_the_log(self, plane):
        plane.logs.append("ap-1", entries("a"))
        plane.logs.mark_done("ap-1")
        async with asyncio.timeout(30):
            assert [texts(page) async for page in plane.logs.follow("ap-1", 0, seconds=60)] == [["a"]]

    async def test_following_ends_when_its_time_is_over(self, plane):
        async with asyncio.timeout(30):
            assert [page async for page in plane.logs.follow("ap-1", 0, seconds=0)] == []

    async def test_a_follower_who_comes_back_goes_on_after_the_last_number(self, plane):
        plane.logs.append("ap-1", entries("a", "b"))
        plane.logs.mark_done("ap-1")
        assert [texts(page) async for page in plane.logs.follow("ap-1", 1, seconds=60)] == [["b"]]

    async def test_a_log_that_is_done_keeps_no_file_open(self, plane):
        """Every image and every run has one: an engine would run out of files."""
        plane.logs.append("ap-1", entries("a"))
        plane.logs.mark_done("ap-1")
        plane.log_store._writer.flush()
        assert plane.log_store._writer._open == {}
        assert texts(plane.log_store.after("ap-1", 0)) == ["a"]


class TestFilters:
    async def test_the_newest_that_match_come_oldest_first(self, plane):
        plane.logs.append("ap-1", entries("a1", "b1", "a2", "a3"))
        assert texts(await plane.logs.newest("ap-1", LogFilter(search="a"), 2)) == ["a2", "a3"]

    @pytest.mark.parametrize(
        "wanted",
        [
            LogFilter(since=5),
            LogFilter(source=LogSource.STDERR),
            LogFilter(task_id="ta-2"),
            LogFilter(function_ids={"fu-2"}),
            LogFilter(call_id="fc-2"),
            LogFilter(search="two"),
        ],
    )
    async def test_each_filter_leaves_out_what_does_not_match(self, plane, wanted):
        plane.logs.append("ap-1", entries("one"))
        plane.logs.append("ap-1", entries("two", at=6, source=LogSource.STDERR, task_id="ta-2", function_id="fu-2", call_id="fc-2"))
        assert texts(await plane.logs.all("ap-1", wanted, 10)) == ["two"]

    def test_a_time_span_takes_its_beginning_and_not_its_end(self):
        (entry,) = entries("x", at=5.0)
        assert LogFilter(since=5, until=6).of(entry) == entry
        assert LogFilter(since=4, until=5).of(entry) is None


class TestTasks:
    async def test_output_belongs_to_the_only_input_that_its_task_runs(self, plane):
        _, live = await plane.deploy()
        call, task = await plane.call(live), await plane.a_ready_task(live)
        await plane.claim(task)
        plane.reports.task_logged(task.id, entries("hello"))
        (item,) = plane.log_store.after(live.function.app_id, 0)
        assert (item.entry.task_id, item.entry.function_id, item.entry.call_id) == (task.id, live.id, call.id)

    async def a_busy_task(self, plane, inputs=2, app="shop"):
        _, live = await plane.deploy(name=app)
        task = await plane.a_ready_task(live)
        calls = []
        for _ in range(inputs):
            calls.append(await plane.call(live))
            await plane.claim(task)
        return task, calls

    def logged(self, plane, task, **fields):
        plane.reports.task_logged(task.id, entries("hello", **fields))
        return plane.log_store.after(task.task.app_id, 0)[-1].entry

    async def test_output_of_a_task_that_runs_several_is_nobodys(self, plane):
        task, _ = await self.a_busy_task(plane)
        entry = self.logged(plane, task)
        assert (entry.call_id, entry.input_id) == ("", "")

    async def test_output_that_names_its_input_is_that_inputs(self, plane):
        task, calls = await self.a_busy_task(plane)
        for call in calls:
            entry = self.logged(plane, task, input_id=call.inputs[0].id)
            assert (entry.call_id, entry.input_id) == (call.id, call.inputs[0].id)

    async def test_output_that_comes_after_its_input_has_ended_is_still_its_own(self, plane):
        """A container answers faster than its output is read, and may have its next input by then."""
        task, (first, second) = await self.a_busy_task(plane)
        task.running.pop(first.inputs[0].id)
        assert self.logged(plane, task, input_id=first.inputs[0].id).call_id == first.id
        assert self.logged(plane, task).call_id == second.id

    async def test_output_without_a_name_that_comes_after_its_input_has_ended_is_the_last_inputs(self, plane):
        """Of a child process, read a moment after the result came."""
        _, live = await plane.deploy()
        task, call = await plane.a_ready_task(live), await plane.call(live)
        await plane.answer(task, (await plane.claim(task))[0])
        assert self.logged(plane, task).call_id == call.id
        plane.clock.move(1)
        assert self.logged(plane, task).call_id == ""

    async def test_a_container_cannot_name_inputs_of_others(self, plane):
        task, _ = await self.a_busy_task(plane)
        _, (foreign,) = await self.a_busy_task(plane, inputs=1, app="another")
        for input_id in (foreign.inputs[0].id, "in-invented"):
            assert self.logged(plane, task, input_id=input_id).input_id == ""

    async def test_output_of_a_batch_is_its_calls_and_no_single_inputs(self, plane):
        _, live = await plane.deploy()
        task, call = await plane.a_ready_task(live), await plane.call(live, inputs=2)
        await plane.claims.claim(task.id, batch=2)
        for input_id in ("", call.inputs[0].id):
            entry = self.logged(plane, task, input_id=input_id)
            assert (entry.call_id, entry.input_id) == (call.id, "")

    async def test_the_log_says_how_a_container_ended_and_when_the_next_is_tried(self, plane):
        app, live = await plane.deploy()
        for end, text in (
            (TaskExit(kind=ExitKind.OUT_OF_MEMORY, code=137), "The container ran out of memory and was killed.\n"),
            (TaskExit(kind=ExitKind.CRASHED, code=3), "The container exited with code 3.\n"),
        ):
            task = await plane.a_ready_task(live)
            await plane.reports.task_exited(task.id, end)
            entry = plane.log_store.after(app.id, 0)[-1].entry
            assert (entry.source, entry.text, entry.task_id) == (LogSource.SYSTEM, text, task.id)
        task = plane.tasks.create(live.function, live.definition_id, "a test")
        await plane.reports.task_exited(task.id, TaskExit(kind=ExitKind.CRASHED, code=1))
        assert texts(plane.log_store.after(app.id, 2)) == ["The container exited with code 1. The next start is tried in 0.5 s.\n"]

    async def test_ends_that_were_asked_for_are_not_worth_a_line(self, plane):
        app, live = await plane.deploy()
        for kind in (ExitKind.STOPPED, ExitKind.FINISHED):
            await plane.reports.task_exited((await plane.a_ready_task(live)).id, TaskExit(kind=kind))
        assert plane.log_store.after(app.id, 0) == []

    async def test_following_one_task_ends_with_it(self, plane):
        app, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        self.logged(plane, task)
        pages = []

        async def follow():
            pages.extend([texts(page) async for page in plane.logs.follow(app.id, 0, 60, task.id)])

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(follow())
            await asyncio.sleep(0)
            await plane.reports.task_exited(task.id, TaskExit(kind=ExitKind.STOPPED))
        assert pages == [["hello"]]

    def test_output_of_an_unknown_task_is_dropped(self, plane):
        plane.reports.task_logged("ta-gone", entries("hello"))


def test_the_clock_of_tests_moves_both_its_hours():
    clock = FakeClock()
    now, monotonic = clock.now(), clock.monotonic()
    clock.move(2)
    assert ((clock.now() - now).total_seconds(), clock.monotonic() - monotonic) == (2, 2)
