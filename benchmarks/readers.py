"""Open pages without browsers: each follows its stream, as `dash.js` does.

Prints a line when all are open, and another whenever its input says so: how many contents came since, and how old on average what a page
showed was, the middle one of all. In a process of its own, so that what it costs is not the engine's.
"""

import asyncio
import gc
import json
import statistics
import sys
import time
from urllib.parse import urlencode

_END_OF_HEAD = b"\r\n\r\n"
_MOST = 1 << 24  # bytes of a line
_PATIENCE = 30.0


class Reader:
    """One page: its path, what it watches, and the header field of a login."""

    def __init__(self, address: tuple[str, int], path: str, watch: str, login: str) -> None:
        host = f"{address[0]}:{address[1]}"
        query = urlencode({"page": path, "watch": watch, "after": "0"})
        self._address = address
        self._request = f"GET /dash/stream?{query} HTTP/1.1\r\nHost: {host}\r\n{login}\r\n\r\n"
        self.contents: list[float] = []  # when they came
        self.is_open = asyncio.Event()

    async def run(self) -> None:
        stream, writer = await asyncio.open_connection(*self._address, limit=_MOST)
        writer.write(self._request.encode())
        head = await asyncio.wait_for(stream.readuntil(_END_OF_HEAD), _PATIENCE)
        if b" 200 " not in head.partition(b"\r\n")[0]:
            sys.exit(f"A stream was refused: {head!r}")
        self.contents.append(time.monotonic())
        self.is_open.set()
        while line := await stream.readline():
            if line.startswith(b"event: content"):
                self.contents.append(time.monotonic())
        sys.exit("A stream has ended.")


async def main(address: tuple[str, int], login: str, pages: list[tuple[str, str]]) -> None:
    readers = [Reader(address, path, watch, login) for path, watch in pages]
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(reader.run()) for reader in readers]
        for reader in readers:
            await asyncio.wait_for(reader.is_open.wait(), _PATIENCE)
        print("open", flush=True)
        while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
            print(json.dumps(_seen(readers)), flush=True)
        for task in running:
            task.cancel()


def _seen(readers: list[Reader]) -> dict[str, float]:
    """Since it was asked before."""
    now = time.monotonic()
    ages = [_age(reader.contents, now) for reader in readers]
    seen = {"contents": sum(len(reader.contents) - 1 for reader in readers), "age": statistics.median(ages) if ages else 0.0}
    for reader in readers:
        del reader.contents[:-1]
    return seen


def _age(came: list[float], now: float) -> float:
    """How old what a page shows is on average, at any moment between the first content and now."""
    whole = now - came[0]
    return sum((later - earlier) ** 2 / 2 for earlier, later in zip(came, [*came[1:], now], strict=True)) / whole


if __name__ == "__main__":
    gc.disable()
    asyncio.run(main(*json.loads(sys.argv[1])))
