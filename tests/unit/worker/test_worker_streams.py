"""Output is kept by offset and held back when nobody takes it; input is written once, however often it is sent."""

import os
from contextlib import aclosing

import anyio
import anyio.lowlevel
import pytest

from freehold.domain.errors import Conflict
from freehold.worker.streams import Input, Output, drain, pump

DEADLINE = 30
MIB = 1 << 20


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    os.close(reading)


async def all_of(output, offset=0):
    with anyio.fail_after(DEADLINE):
        return b"".join([data async for data in output.read(offset)])


async def take(output, count, offset):
    """This many bytes, as a reader who then comes back for more, and leaves."""
    async with aclosing(output.read(offset)) as pieces:
        while count > 0:
            count -= len(await anext(pieces))
        with anyio.move_on_after(0):
            await anext(pieces)


class TestOutput:
    async def test_it_is_read_from_any_offset_that_is_kept(self):
        output = Output()
        output.append(b"one ")
        output.append(b"two")
        output.finish()

        assert [await all_of(output, offset) for offset in (0, 4, 7)] == [b"one two", b"two", b""]

    async def test_a_reader_waits_for_what_comes(self):
        output, read = Output(), []

        async def reader():
            read.append(await all_of(output))

        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(reader)
                await anyio.wait_all_tasks_blocked()
                output.append(b"late")
                await anyio.wait_all_tasks_blocked()
                output.finish()
        assert read == [b"late"]

    async def test_what_nobody_takes_stays_and_stops_the_pump(self, pipe):
        reading, writing = pipe
        os.set_blocking(writing, False)
        output, sent = Output(), 0
        async with anyio.create_task_group() as group:
            group.start_soon(pump, reading, output)
            with anyio.move_on_after(DEADLINE) as waiting:
                while sent < 4 * MIB:
                    try:
                        sent += os.write(writing, b"x" * 4096)
                    except BlockingIOError:
                        before = sent
                        await anyio.wait_all_tasks_blocked()
                        if before == sent and sent >= MIB:
                            break
            group.cancel_scope.cancel()
        assert not waiting.cancelled_caught
        assert MIB <= sent <= MIB + 3 * 65536, "what is kept, and what a pipe holds"
        os.close(writing)
        drain(reading, output)
        output.finish()
        assert len(await all_of(output)) == sent, "nothing is lost"

    async def test_what_was_taken_is_kept_for_a_while_and_then_refused(self):
        output = Output()
        for quarter in range(8):
            output.append(b"x" * (MIB // 4))
            await take(output, MIB // 4, offset=quarter * MIB // 4)
        output.append(b"x" * MIB)
        output.finish()

        assert len(await all_of(output, offset=2 * MIB - 65536)) == MIB + 65536
        with pytest.raises(Conflict, match="kept no longer"):
            await all_of(output)

    async def test_all_of_a_pipe_arrives_whoever_is_slow(self, pipe):
        reading, writing = pipe
        output, data = Output(), os.urandom(3 * MIB)

        def write():
            with os.fdopen(writing, "wb") as file:
                file.write(data)

        read = bytearray()
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:

                async def read_all():
                    await pump(reading, output)
                    output.finish()

                group.start_soon(anyio.to_thread.run_sync, write)
                group.start_soon(read_all)
                async for piece in output.read(0):
                    read += piece
                    await anyio.lowlevel.checkpoint()
        assert bytes(read) == data

    async def test_a_reader_that_leaves_holds_nobody_up(self):
        output = Output()
        output.append(b"one")
        reader = output.read(0)
        await anext(reader)
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(output.taken)
                await anyio.wait_all_tasks_blocked()
                await reader.aclose()

    def test_what_is_drained_is_what_is_there(self, pipe):
        """Somebody in the background may hold the other end for ever."""
        reading, writing = pipe
        os.write(writing, b"last words")
        output = Output()

        drain(reading, output)

        os.close(writing)
        assert output._kept == b"last words"


class TestInput:
    @pytest.fixture
    def ends(self):
        reading, writing = os.pipe()
        source = Input(writing, is_terminal=False)
        yield source, reading
        source.close()
        os.close(reading)

    async def test_a_repeated_write_is_written_once(self, ends):
        source, reading = ends
        await source.write(0, b"one ", eof=False)
        await source.write(0, b"one ", eof=False)
        await source.write(2, b"e two", eof=True)
        await source.write(2, b"e two", eof=True)

        assert os.read(reading, 100) == b"one two"
        assert os.read(reading, 100) == b"", "it was closed"
        assert (source.status.written, source.status.is_closed) == (7, True)

    async def test_a_gap_is_refused(self, ends):
        source, _ = ends
        with pytest.raises(Conflict, match="goes on at byte 0, not at 3"):
            await source.write(3, b"late", eof=False)

    async def test_more_after_the_end_is_refused(self, ends):
        source, _ = ends
        await source.write(0, b"", eof=True)
        with pytest.raises(Conflict, match="closed it, or has ended"):
            await source.write(0, b"more", eof=False)

    async def test_a_full_pipe_waits_for_its_reader(self, ends):
        source, reading = ends
        data, read = os.urandom(MIB), bytearray()
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:

                async def write():
                    await source.write(0, data, eof=True)

                group.start_soon(write)
                await anyio.wait_all_tasks_blocked()
                assert not source.status.is_closed
                while piece := await anyio.to_thread.run_sync(os.read, reading, 65536):
                    read += piece
        assert bytes(read) == data

    async def test_who_waits_is_told_when_the_command_ends(self, ends):
        source, _ = ends
        async with anyio.create_task_group() as group:

            async def end():
                await anyio.wait_all_tasks_blocked()
                source.close()

            group.start_soon(end)
            with anyio.fail_after(DEADLINE), pytest.raises(Conflict, match="has ended"):
                await source.write(0, bytes(MIB), eof=False)

    async def test_a_write_that_was_cut_short_goes_on_where_it_was(self, ends):
        source, reading = ends
        data = os.urandom(MIB)
        with anyio.move_on_after(0.05):
            await source.write(0, data, eof=False)
        written = source.status.written
        assert 0 < written < len(data)

        read = bytearray()
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:

                async def write():
                    await source.write(0, data, eof=True)

                group.start_soon(write)
                while piece := await anyio.to_thread.run_sync(os.read, reading, 65536):
                    read += piece
        assert bytes(read) == data

    async def test_what_a_reader_has_closed_is_refused(self):
        reading, writing = os.pipe()
        source = Input(writing, is_terminal=False)
        os.close(reading)
        with pytest.raises(Conflict, match="Nobody reads"):
            await source.write(0, b"x", eof=False)
        source.close()
