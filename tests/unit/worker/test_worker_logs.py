import os
import select
import time

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from fakes.clock import FakeClock
from fakes.worker import DEADLINE, StillClock

from freehold.domain.clock import SystemClock
from freehold.domain.logs import LogSource
from freehold.worker.logs import ContainerLog, LineCutter, OutputPipes, Stream, Tail
from freehold.worker.marks import MarkReader, Piece
from freehold.worker.pace import Pace


def cut(*chunks, longest=10):
    cutter = LineCutter(longest)
    return [piece for chunk in chunks for piece in cutter.feed(chunk)], list(cutter.flush(final=True))


class TestLineCutter:
    def test_whole_lines_that_came_together_stay_together(self):
        assert cut(b"a\nb\n") == (["a\nb\n"], [])

    def test_an_unfinished_line_waits_for_its_end(self):
        assert cut(b"a\nb", b"c\n") == (["a\n", "bc\n"], [])

    def test_the_last_line_needs_no_newline(self):
        assert cut(b"a\nend") == (["a\n"], ["end"])

    def test_a_line_without_end_is_split_at_the_longest_length(self):
        assert cut(b"x" * 25) == (["x" * 10, "x" * 10], ["x" * 5])

    def test_a_character_that_was_cut_between_two_reads_is_whole(self):
        euro = "€".encode()

        assert cut(euro[:1], euro[1:] + b"\n") == (["€\n"], [])

    def test_bytes_that_are_no_text_are_replaced(self):
        assert cut(b"\xff\n\xe2\x82") == (["�\n"], ["�"])


class TestTail:
    def test_it_keeps_the_last_lines(self):
        tail = Tail()
        tail.add("".join(f"{number}\n" for number in range(100)))

        assert tail.text().splitlines() == [str(number) for number in range(50, 100)]

    def test_a_line_that_came_in_pieces_is_one_line(self):
        tail = Tail()
        tail.add("one ")
        tail.add("line\nnext")

        assert tail.text() == "one line\nnext"

    def test_endless_lines_do_not_fill_the_memory(self):
        tail = Tail()
        for _ in range(1000):
            tail.add("x" * 10_000)

        assert len(tail.text()) <= 2000


class TestContainerLog:
    async def test_everything_that_was_written_is_read_when_the_pipes_are_drained(self, tmp_path):
        entries = []
        log = ContainerLog(sink=entries.extend, clock=StillClock(), task_id="ta-1")
        async with anyio.create_task_group() as group:
            pipes = OutputPipes(tmp_path)
            pipes.read(log, group)
            os.write(pipes.stdout, b"out\n")
            os.write(pipes.stderr, b"err")
            pipes.close()
            await pipes.drain()

        assert {(entry.source, entry.text, entry.task_id) for entry in entries} == {
            (LogSource.STDOUT, "out\n", "ta-1"),
            (LogSource.STDERR, "err", "ta-1"),
        }

    async def test_a_prompt_without_newline_is_shown_while_the_program_waits(self):
        shown = anyio.Event()
        entries = []

        def sink(new):
            entries.extend(new)
            shown.set()

        reading, writing = os.pipe()
        async with anyio.create_task_group() as group:
            group.start_soon(ContainerLog(sink=sink, clock=StillClock()).read, {LogSource.STDOUT: reading})
            os.write(writing, b"name? ")
            with anyio.fail_after(DEADLINE):
                await shown.wait()
            os.close(writing)

        assert [entry.text for entry in entries] == ["name? "]

    async def test_who_opens_the_pipes_anew_reads_what_was_written_meanwhile(self, tmp_path):
        """An engine was killed; the next one comes while the container lives."""
        entries = []
        log = ContainerLog(sink=entries.extend, clock=StillClock())
        async with anyio.create_task_group() as group:
            dead = OutputPipes(tmp_path)
            dead.read(log, group)
            group.cancel_scope.cancel()
        os.write(dead.stdout, b"nobody reads\n")

        async with anyio.create_task_group() as group:
            pipes = OutputPipes(tmp_path)
            pipes.read(log, group)
            pipes.close()
            os.write(dead.stdout, b"somebody does\n")
            dead.close()
            await pipes.drain()

        assert "".join(entry.text for entry in entries) == "nobody reads\nsomebody does\n"

    async def test_a_container_that_reads_its_own_output_does_no_harm(self, tmp_path):
        entries = []
        async with anyio.create_task_group() as group:
            pipes = OutputPipes(tmp_path)
            pipes.read(ContainerLog(sink=entries.extend, clock=StillClock()), group)
            for _ in range(200):
                os.write(pipes.stdout, b"x\n")
                assert os.read(pipes.stdout, 2) == b"x\n"
                await anyio.lowlevel.checkpoint()
            os.write(pipes.stdout, b"end\n")
            pipes.close()
            await pipes.drain()

        assert entries[-1].text == "end\n"


SECRET = "abc123"


def marked(input_id, text, micros=1):
    return f"\x1e{SECRET}{input_id} {micros:x}\x1e{text}\x1e{SECRET}\x1e".encode()


def read_marks(*chunks):
    reader = MarkReader(SECRET)
    found = [(piece.input_id, piece.data) for chunk in chunks for piece in reader.feed(chunk)]
    return found + [(piece.input_id, piece.data) for piece in reader.release()]


class TestMarks:
    def test_a_mark_is_taken_out_and_says_whose_the_text_is(self):
        assert read_marks(b"free " + marked("in-1", "one") + b" free") == [("", b"free "), ("in-1", b"one"), ("", b" free")]

    @pytest.mark.parametrize("cut", range(1, len(marked("in-1", "one"))))
    def test_a_mark_may_be_cut_anywhere(self, cut):
        data = marked("in-1", "one")
        found = read_marks(data[:cut], data[cut:])
        assert b"".join(text for input_id, text in found if input_id == "in-1") == b"one"
        assert {input_id for input_id, _ in found} == {"in-1"}

    @pytest.mark.parametrize(
        "text",
        [
            b"\x1e",
            b"\x1eabc12",
            b"\x1eabc123",
            b"\x1eabc123no-time\x1e",
            b"\x1eother1in-1 1\x1e",
            b"\x1eabc123in-1 1" + b"f" * 200,
            b"\x1e\x1e\x1e",
        ],
    )
    def test_what_only_looks_like_a_mark_stays_in_the_text(self, text):
        assert b"".join(data for _, data in read_marks(b"a" + text, b"z")) == b"a" + text + b"z"
        assert b"".join(data for _, data in read_marks(b"a" + text)) == b"a" + text

    def test_lines_of_one_input_are_read_as_one_and_all_others_apart(self):
        same = [marked("in-1", "a") + b"\n", marked("in-1", "b\n"), marked("in-1", "c"), marked("in-1", "d") + b"\n"]
        assert read_marks(b"x" + b"".join(same)) == [("", b"x"), ("in-1", b"a\nb\ncd"), ("", b"\n")]
        later = marked("in-1", "e", 2) + marked("in-1", "f", 2)
        assert read_marks(same[0] + later) == [("in-1", b"a"), ("", b"\n"), ("in-1", b"ef")]
        both = marked("in-2", "g") + b"\n" + same[0] + marked("in-2", "h")
        assert read_marks(both) == [("in-2", b"g"), ("", b"\n"), ("in-1", b"a"), ("", b"\n"), ("in-2", b"h")]

    def test_without_a_secret_nothing_is_a_mark(self):
        assert MarkReader("").feed(marked("in-1", "x")) == [Piece("", None, marked("in-1", "x"))]


def stream(*chunks, source=LogSource.STDOUT, now=100.0):
    reader = Stream(source, SECRET)
    said = [one for chunk in chunks for one in reader.feed(chunk, since=0.0, began=now, now=now)]
    return [(one.input_id, one.text) for one in (*said, *reader.finish(now))]


class TestStream:
    def test_lines_of_two_threads_that_were_printed_in_pieces_are_whole(self):
        """`print` writes its text and the end of its line one after the other."""
        assert stream(marked("in-1", "one"), marked("in-2", "two"), marked("in-1", "\n"), marked("in-2", "\n")) == [
            ("in-1", "one\n"),
            ("in-2", "two\n"),
        ]

    def test_the_end_of_a_line_needs_no_mark(self):
        assert stream(marked("in-1", "one") + b"\n" + b"of a child process\n") == [("in-1", "one\n"), ("", "of a child process\n")]

    def test_an_empty_line_of_nobody_ends_nobodys_line(self):
        assert stream(marked("in-1", "one\n") + b"\n") == [("in-1", "one\n"), ("", "\n")]

    def test_one_input_that_never_ends_its_line_holds_up_no_other(self):
        reader = Stream(LogSource.STDOUT, SECRET)
        reader.feed(marked("in-1", "busy..."), since=0.0, began=1.0, now=1.0)
        assert reader.show_late(1.05, at_once=False) == []
        reader.feed(marked("in-2", "x"), since=1.0, began=1.08, now=1.08)
        assert [(one.input_id, one.text) for one in reader.show_late(1.11, at_once=False)] == [("in-1", "busy...")]
        assert [one.text for one in reader.feed(marked("in-1", "done\n"), since=1.1, began=1.2, now=1.2)] == ["done\n"]

    def test_inputs_that_have_ended_leave_nothing_behind(self):
        reader = Stream(LogSource.STDOUT, SECRET)
        for number in range(1000):
            reader.feed(marked(f"in-{number}", "line\n"), since=0.0, began=float(number), now=float(number))
            reader.show_late(float(number), at_once=False)
        assert len(reader._cutters) <= 2

    def test_times_are_those_of_the_container_as_far_as_they_can_be_true(self):
        reader = Stream(LogSource.STDOUT, SECRET)
        data = b"before\n" + marked("in-1", "a\n", 5_000_000) + marked("in-1", "b\n", 1) + marked("in-1", "c\n", 99_000_000)
        said = reader.feed(data + b"after\n", since=4.0, began=9.0, now=10.0)
        assert [(one.text, one.at) for one in said] == [("before\n", 4.0), ("a\n", 4.0), ("b\n", 4.0), ("c\n", 10.0), ("after\n", 10.0)]
        assert [one.at for one in reader.feed(b"nobody's\n", since=10.0, began=11.0, now=12.0)] == [11.0]


class TestOrder:
    async def read(self, folder, out, err):
        """What is in both pipes at once, as entries."""
        entries, clock = [], StillClock()
        now = int(clock.now().timestamp() * 1e6)
        async with anyio.create_task_group() as group:
            container_log = ContainerLog(sink=entries.extend, clock=clock)
            container_log.expect_marks(SECRET)
            pipes = OutputPipes(folder)
            os.write(pipes.stdout, b"".join(marked("in-1", text, now + at) for at, text in out))
            os.write(pipes.stderr, b"".join(marked("in-1", text, now + at) for at, text in err))
            pipes.read(container_log, group)
            pipes.close()
            await pipes.drain()
        return [(entry.source, entry.text) for entry in entries]

    async def test_both_streams_are_in_the_order_in_which_they_were_written(self, tmp_path):
        entries = await self.read(tmp_path, [(-50_000, "1\n"), (-30_000, "3\n")], [(-40_000, "2\n"), (-20_000, "4\n")])
        assert entries == [(LogSource.STDOUT, "1\n"), (LogSource.STDERR, "2\n"), (LogSource.STDOUT, "3\n"), (LogSource.STDERR, "4\n")]

    async def test_what_was_written_while_we_looked_waits_for_what_was_written_before_it(self, tmp_path):
        """Else a line would come before an earlier one in the other pipe, if that was read first."""
        entries, clock = [], FakeClock()
        now = int(clock.now().timestamp() * 1e6)
        reads = iter([marked("in-1", "1\n", now - 10), marked("in-1", "3\n", now + 40), marked("in-1", "2\n", now + 20)])
        container_log = ContainerLog(sink=entries.extend, clock=clock)
        container_log.expect_marks(SECRET)
        pipes = {source: os.pipe() for source in (LogSource.STDERR, LogSource.STDOUT)}

        class Feed(MarkReader):
            def feed(self, data):
                clock.move(0.00005)
                return super().feed(data)

        streams = {reading: Stream(source, SECRET) for source, (reading, _) in pipes.items()}
        for stream in streams.values():
            stream._marks = Feed(SECRET)
        with select.epoll() as ready:
            for reading, _ in pipes.values():
                ready.register(reading, select.EPOLLIN)
            for source in (LogSource.STDERR, LogSource.STDOUT):
                os.write(pipes[source][1], next(reads))
            container_log._look(dict(streams), ready, is_late=False)
            assert [entry.text for entry in entries] == ["1\n"]
            os.write(pipes[LogSource.STDERR][1], next(reads))
            clock.move(0.01)
            container_log._look(dict(streams), ready, is_late=False)
        assert [entry.text for entry in entries] == ["1\n", "2\n", "3\n"]
        for ends in pipes.values():
            for end in ends:
                os.close(end)

    async def test_what_was_printed_at_one_moment_is_one_entry(self, tmp_path):
        assert await self.read(tmp_path, [(-50_000 + i, f"{i}\n") for i in range(3)], []) == [(LogSource.STDOUT, "0\n1\n2\n")]

    async def test_lines_of_different_moments_have_times_of_their_own(self, tmp_path):
        assert len(await self.read(tmp_path, [(-900_000 + i * 100_000, f"{i}\n") for i in range(3)], [])) == 3


class TestPace:
    def test_a_burst_is_free_and_what_follows_waits(self):
        clock = FakeClock()
        pace = Pace(clock, share=100, burst=1000)
        assert [pace.spend(600), pace.spend(400), pace.spend(50)] == [0, 0, 0.5]

    def test_what_was_not_spent_is_there_again_later_up_to_the_burst(self):
        clock = FakeClock()
        pace = Pace(clock, share=100, burst=1000)
        pace.spend(1000)
        clock.move(1)
        assert pace.spend(150) == 0.5
        clock.move(1000)
        assert (pace.spend(1000), pace.spend(100)) == (0, 1)

    async def test_a_container_that_prints_without_end_is_read_at_its_pace(self):
        """It waits in its own write; nothing of what it prints is lost."""
        clock, entries = SystemClock(), []
        slow = Pace(clock, share=0.004, burst=0)
        reading, writing = os.pipe()
        data = b"y\n" * (512 * 1024)
        started = time.monotonic()
        async with anyio.create_task_group() as group:
            group.start_soon(ContainerLog(sink=entries.extend, clock=clock, paces=[slow]).read, {LogSource.STDOUT: reading})
            await anyio.to_thread.run_sync(write_all, writing, data)
        assert time.monotonic() - started > 0.3, "a megabyte is some milliseconds of work"
        assert "".join(entry.text for entry in entries).encode() == data

    async def test_what_is_left_at_the_end_is_read_without_a_rest(self, tmp_path):
        entries = []
        async with anyio.create_task_group() as group:
            slowest = Pace(SystemClock(), share=1e-9, burst=0)
            pipes = OutputPipes(tmp_path)
            os.write(pipes.stdout, b"y\n" * 400_000)
            pipes.read(ContainerLog(sink=entries.extend, clock=SystemClock(), paces=[slowest]), group)
            pipes.close()
            with anyio.fail_after(DEADLINE):
                await pipes.drain()
        assert sum(entry.line_count for entry in entries) == 400_000


def write_all(pipe, data):
    with os.fdopen(pipe, "wb") as file:
        file.write(data)
