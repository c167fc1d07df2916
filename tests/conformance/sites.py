"""HTTP to deployed functions by the addresses they really have, whatever the machine's resolver knows of `*.localhost`."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

_DEADLINE = aiohttp.ClientTimeout(total=60)


class _Loopback(AbstractResolver):
    """Every name is this machine."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        del family
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(resolver=_Loopback(), use_dns_cache=False)
    async with aiohttp.ClientSession(connector=connector, timeout=_DEADLINE) as session:
        yield session
