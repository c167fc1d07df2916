import os

import anyio
import anyio.lowlevel
from fakes.worker import DEADLINE, StillClock

from freehold.domain.logs import LogSource
from freehold.worker.logs import ContainerLog, LineCutter, OutputPipes, Tail


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
            group.start_soon(ContainerLog(sink=sink, clock=StillClock()).read, reading, LogSource.STDOUT)
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
