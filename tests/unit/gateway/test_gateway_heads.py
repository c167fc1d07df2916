"""Requests that never come to the point: each is cut off, and what is merely large is not."""

import asyncio
import time

import pytest
from fakes.gateway import DEADLINE, a_gateway

from freehold.gateway.bodies import ChunkedBody
from freehold.gateway.heads import LIMIT

FIRST_LINE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


async def answer_to(port: int, *pieces: bytes) -> bytes:
    """The answer to pieces that arrive one by one; empty if the connection was cut without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(DEADLINE):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.read(4096)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def endless(piece: bytes) -> list[bytes]:
    """Far more than any buffer of the kernel and of the loop takes at once."""
    return [piece * (64 * 1024 // len(piece))] * (32 * LIMIT // (64 * 1024))


@pytest.mark.parametrize(
    "beginning",
    [b"GET /", FIRST_LINE + b"X-Long: ", CHUNKED + b"0\r\nX-Trailer: "],
    ids=["address", "field", "trailing field"],
)
async def test_what_has_no_end_is_cut_off(beginning: bytes) -> None:
    async with a_gateway() as gateway:
        answer = await answer_to(gateway.port, beginning, *endless(b"a"))

    assert b"200 OK" not in answer


async def test_any_number_of_fields_is_cut_off() -> None:
    async with a_gateway() as gateway:
        answer = await answer_to(gateway.port, FIRST_LINE, *endless(b"X-Field: value\r\n"))

    assert b"200 OK" not in answer


async def test_large_cookies_pass() -> None:
    async with a_gateway() as gateway:
        answer = await answer_to(gateway.port, FIRST_LINE, b"Cookie: " + b"a" * 60_000 + b"\r\n", b"\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_tiny_chunks_cost_the_same_however_many_come_at_once():
    data = b"1\r\nx\r\n" * 43_000

    def seconds(step: int) -> float:
        body, begun = ChunkedBody(), time.perf_counter()
        for at in range(0, len(data), step):
            body.feed(data[at : at + step])
        return time.perf_counter() - begun

    assert min(seconds(len(data)) for _ in range(3)) < 10 * min(seconds(1024) for _ in range(3))
