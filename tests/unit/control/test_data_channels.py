"""Streams beside a call: bounded, in order, readable again after a lost connection."""

import asyncio

import pytest
from modal_proto import api_pb2

from freehold.control.services.data_channels import DataStream

_MIB = 1024 * 1024


def chunk(index, data=b"x"):
    return api_pb2.DataChunk(index=index, data=data)


async def read(stream, after=0, silence=0.0):
    return [item.index async for item in stream.read(after, silence)]


@pytest.fixture
def stream():
    return DataStream()


async def test_chunks_are_read_in_their_order_until_the_end(stream):
    await stream.write([chunk(1), chunk(2)])
    stream.close()
    assert await read(stream, silence=60) == [1, 2]


async def test_a_reader_waits_for_what_comes(stream):
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        reading = group.create_task(read(stream, silence=60))
        await asyncio.sleep(0)
        await stream.write([chunk(1)])
        stream.close()
    assert reading.result() == [1]


async def test_a_reader_of_a_silent_stream_is_let_go(stream):
    assert await read(stream) == []


async def test_chunks_that_are_sent_again_are_kept_once(stream):
    await stream.write([chunk(1), chunk(2)])
    await stream.write([chunk(1), chunk(2), chunk(3)])
    assert await read(stream) == [1, 2, 3]


async def test_a_reader_who_lost_the_connection_gets_the_last_chunks_again(stream):
    await stream.write([chunk(index) for index in range(1, 101)])
    assert len(await read(stream)) == 100
    assert await read(stream, after=70) == list(range(71, 101))


async def test_what_was_read_long_ago_is_let_go(stream):
    await stream.write([chunk(index) for index in range(1, 101)])
    await read(stream)
    assert len(stream.chunks) <= 33


async def test_a_writer_waits_while_the_reader_is_slow(stream):
    await stream.write([chunk(1, b"x" * 17 * _MIB)])
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        writing = group.create_task(stream.write([chunk(2)]))
        await asyncio.sleep(0)
        assert not writing.done()
        assert await read(stream) in ([1], [1, 2])
    assert await read(stream, after=1) == [2]


async def test_many_small_chunks_fill_a_stream_too(stream):
    """A generator that yields single numbers to nobody must not fill the memory."""
    await stream.write([chunk(index) for index in range(1, 100_001)])
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(stream.write([chunk(100_001)]))
        await asyncio.sleep(0)
        assert not writing.done()
        stream.close()


async def test_two_writers_that_wait_lose_nothing(stream):
    await stream.append(b"x" * 17 * _MIB, api_pb2.DATA_FORMAT_ASGI)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for data in (b"a", b"b"):
            group.create_task(stream.append(data, api_pb2.DATA_FORMAT_ASGI))
        await asyncio.sleep(0)
        await read(stream)
    stream.close()
    assert await read(stream, after=1) == [2, 3]


async def test_a_closed_stream_takes_nothing_and_keeps_nobody_waiting(stream):
    await stream.write([chunk(1, b"x" * 17 * _MIB)])
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        writing = group.create_task(stream.write([chunk(2)]))
        await asyncio.sleep(0)
        stream.close()
    assert writing.done()
    assert await read(stream, silence=60) == [1]


async def test_the_end_waits_until_the_last_chunk_is_on_its_way(stream):
    """A caller who gets an error stops reading: what came before it must not come after."""
    await stream.write([chunk(1), chunk(2)])
    reader = stream.read(0, 60)
    assert (await anext(reader)).index == 1
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        waiting = group.create_task(stream.wait_sent(60))
        assert (await anext(reader)).index == 2
        await asyncio.sleep(0)
        assert not waiting.done(), "the second is in the reader's hands, but not sent"
        stream.close()
        assert [item async for item in reader] == []


async def test_without_a_reader_there_is_nothing_to_wait_for(stream):
    await stream.write([chunk(1)])
    async with asyncio.timeout(30):
        await stream.wait_sent(60)


async def test_a_reader_that_does_not_move_is_not_waited_for(stream):
    await stream.write([chunk(1)])
    reader = stream.read(0, 60)
    await anext(reader)
    async with asyncio.timeout(30):
        await stream.wait_sent(0.01)
    await reader.aclose()
