"""A small HTTP load generator: a fixed number of connections, each with one request in flight, for a fixed time."""

import asyncio
import time
from dataclasses import dataclass, field

_SECONDS = 6.0
_WARM_UP_SECONDS = 1.0
_DEADLINE = 30.0  # of one response


@dataclass
class Load:
    """What came back: milliseconds of each request, and over how many seconds."""

    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0

    @property
    def per_second(self) -> float:
        return len(self.milliseconds) / self.seconds


def load(address: tuple[str, int], host: str, connections: int) -> Load:
    """GET / of this host, over so many connections. Anything but a 200 is an error."""
    return asyncio.run(_load(address, host, connections))


async def _load(address: tuple[str, int], host: str, connections: int) -> Load:
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    await _phase(address, request, connections, _WARM_UP_SECONDS)
    return await _phase(address, request, connections, _SECONDS)


async def _phase(address: tuple[str, int], request: bytes, connections: int, seconds: float) -> Load:
    result = Load()
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_connection(address, request, started + seconds, result))
    result.seconds = time.perf_counter() - started
    return result


async def _connection(address: tuple[str, int], request: bytes, until: float, result: Load) -> None:
    reader, writer = await asyncio.open_connection(*address)
    try:
        while (started := time.perf_counter()) < until:
            writer.write(request)
            await asyncio.wait_for(_read_response(reader), _DEADLINE)
            result.milliseconds.append((time.perf_counter() - started) * 1000)
    finally:
        writer.close()
        await writer.wait_closed()


async def _read_response(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = head.split(b"\r\n", 1)[0]
    if b" 200" not in status:
        msg = f"Answered {status.decode()}"
        raise RuntimeError(msg)
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
    if length:
        await reader.readexactly(int(length))
    else:
        await _read_chunks(reader)


async def _read_chunks(reader: asyncio.StreamReader) -> None:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
    await reader.readexactly(2)
