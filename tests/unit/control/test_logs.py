"""Logs: kept in segments, bounded, read from any place, followed until they are done."""

import asyncio
from dataclasses import replace

import pytest
from fakes.clock import FakeClock

from freehold.control.services.logs import LogFilter
from freehold.domain.logs import LogEntry, LogSource
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
        kept = store.matching("ap-1", lambda item: True, 10_000)
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
        assert (store.recent("ap-1", 1), len(store.recent("ap-1", 2))) == (None, 4)
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


class TestFollowing:
    async def test_a_follower_gets_what_is_there_and_what_comes(self, plane):
        plane.logs.append("ap-1", entries("a"))
        pages = plane.logs.follow("ap-1", 0, seconds=60)
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            assert texts(await anext(pages)) == ["a"]
            coming = group.create_task(anext(pages))
            await asyncio.sleep(0)
            plane.logs.append("ap-1", entries("b"))
        assert texts(coming.result()) == ["b"]
        await pages.aclose()

    async def test_following_ends_with_the_log(self, plane):
        plane.logs.append("ap-1", entries("a"))
        plane.logs.mark_done("ap-1")
        async with asyncio.timeout(5):
            assert [texts(page) async for page in plane.logs.follow("ap-1", 0, seconds=60)] == [["a"]]

    async def test_following_ends_when_its_time_is_over(self, plane):
        async with asyncio.timeout(5):
            assert [page async for page in plane.logs.follow("ap-1", 0, seconds=0)] == []

    async def test_a_follower_who_comes_back_goes_on_after_the_last_number(self, plane):
        plane.logs.append("ap-1", entries("a", "b"))
        plane.logs.mark_done("ap-1")
        assert [texts(page) async for page in plane.logs.follow("ap-1", 1, seconds=60)] == [["b"]]

    async def test_a_log_that_is_done_keeps_no_file_open(self, plane):
        """Every image and every run has one: an engine would run out of files."""
        plane.logs.append("ap-1", entries("a"))
        plane.logs.mark_done("ap-1")
        assert plane.log_store._logs == {}
        assert texts(plane.log_store.after("ap-1", 0)) == ["a"]


class TestFilters:
    async def test_the_newest_that_match_come_oldest_first(self, plane):
        plane.logs.append("ap-1", entries("a1", "b1", "a2", "a3"))
        assert texts(await plane.logs.fetch("ap-1", LogFilter(search="a"), limit=2)) == ["a2", "a3"]

    @pytest.mark.parametrize(
        "wanted",
        [
            LogFilter(since=5),
            LogFilter(source=LogSource.STDERR),
            LogFilter(task_id="ta-2"),
            LogFilter(function_id="fu-2"),
            LogFilter(call_id="fc-2"),
            LogFilter(search="two"),
        ],
    )
    async def test_each_filter_leaves_out_what_does_not_match(self, plane, wanted):
        plane.logs.append("ap-1", entries("one"))
        plane.logs.append("ap-1", entries("two", at=6, source=LogSource.STDERR, task_id="ta-2", function_id="fu-2", call_id="fc-2"))
        assert texts(await plane.logs.fetch("ap-1", wanted, limit=0)) == ["two"]

    def test_a_time_span_takes_its_beginning_and_not_its_end(self):
        (entry,) = entries("x", at=5.0)
        assert LogFilter(since=5, until=6).matches(entry)
        assert not LogFilter(since=4, until=5).matches(entry)


class TestTasks:
    async def test_output_belongs_to_the_only_input_that_its_task_runs(self, plane):
        _, live = await plane.deploy()
        call, task = await plane.call(live), await plane.a_ready_task(live)
        await plane.claim(task)
        plane.reports.task_logged(task.id, entries("hello"))
        (item,) = plane.log_store.after(live.function.app_id, 0)
        assert (item.entry.task_id, item.entry.function_id, item.entry.call_id) == (task.id, live.id, call.id)

    async def test_output_of_a_task_that_runs_several_is_nobodys(self, plane):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        for _ in range(2):
            await plane.call(live)
            await plane.claim(task)
        plane.reports.task_logged(task.id, entries("hello"))
        (item,) = plane.log_store.after(live.function.app_id, 0)
        assert (item.entry.call_id, item.entry.input_id) == ("", "")

    def test_output_of_an_unknown_task_is_dropped(self, plane):
        plane.reports.task_logged("ta-gone", entries("hello"))


def test_the_clock_of_tests_moves_both_its_hours():
    clock = FakeClock()
    now, monotonic = clock.now(), clock.monotonic()
    clock.move(2)
    assert ((clock.now() - now).total_seconds(), clock.monotonic() - monotonic) == (2, 2)
