"""Holds connections that have each been answered once: prints how many there are, waits for its input to end, prints how many are left."""

import asyncio
import contextlib
import gc
import json
import sys

_AT_ONCE = 50
_PER_ADDRESS = 250  # a gateway may allow so many of one caller: these are many callers
_DEADLINE = 20.0

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def main(host: str, port: int, request: str, count: int) -> None:
    free = asyncio.Semaphore(_AT_ONCE)
    opened = await asyncio.gather(*(_open(free, host, port, request, number) for number in range(count)))  # noqa: TID251 — a client
    streams = [stream for stream in opened if stream is not None]
    print(len(streams), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(sum(not reader.at_eof() and not writer.is_closing() for reader, writer in streams), flush=True)


async def _open(free: asyncio.Semaphore, host: str, port: int, request: str, number: int) -> Stream | None:
    async with free:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(_DEADLINE):
                source = (f"127.0.1.{1 + number // _PER_ADDRESS}", 0)
                reader, writer = await asyncio.open_connection(host, port, local_addr=source)
                writer.write(request.encode())
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                if head.startswith(b"HTTP/1.1 200"):
                    return reader, writer
    return None


if __name__ == "__main__":
    import uvloop

    gc.disable()
    uvloop.run(main(*json.loads(sys.argv[1])))
