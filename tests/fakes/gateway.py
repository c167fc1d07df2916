"""A real gateway on a free port of loopback, for tests that speak HTTP to it."""

import base64
import hashlib
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import anyio
from fakes.lanes import FakeProxyTokens, StockLanes
from fakes.web import FakeWebCalls
from ports import free_port
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute

from freehold.config import Settings
from freehold.domain.errors import InvalidRequest, NotFound, Unauthenticated
from freehold.gateway.server import Gateway

STATUS = {"version": "0.1.0", "pid": 4242, "apps": 2}
DEADLINE = 30  # of any wait in these tests, in seconds


@dataclass
class FakeBlobs:
    """Tokens are names of files in one folder; `forged` is refused."""

    folder: Path = Path()
    chunk_sizes: list[int] = field(default_factory=list)
    interrupted: anyio.Event = field(default_factory=anyio.Event)

    async def receive(self, token: str, chunks: AsyncIterator[bytes], content_md5: str | None) -> str:
        self._check(token)
        try:
            parts = [chunk async for chunk in chunks]
        except ClientDisconnect:
            self.interrupted.set()
            raise
        self.chunk_sizes = [len(part) for part in parts]
        data = b"".join(parts)
        md5 = hashlib.md5(data)
        if content_md5 not in (None, base64.b64encode(md5.digest()).decode()):
            msg = "The Content-MD5 you specified did not match what we received."
            raise InvalidRequest(msg)
        (self.folder / token).write_bytes(data)
        return md5.hexdigest()

    async def open_for_read(self, token: str) -> Path:
        self._check(token)
        if not (self.folder / token).exists():
            msg = f"Blob {token} is gone."
            raise NotFound(msg)
        return self.folder / token

    def _check(self, token: str) -> None:
        if token == "forged":
            msg = "This link is not one of ours, or it has expired."
            raise Unauthenticated(msg)


class FakeTraces:
    """Tells containers what callers say, or what `told` is; keeps what it is told."""

    def __init__(self, told: bytes = b"") -> None:
        self.told = told
        self.noted: dict[str, Any] = {}

    def context(self, call_id: str, input_id: str, traceparent: bytes) -> bytes:
        return self.told or traceparent

    def note(self, call_id: str, seen: Any) -> None:
        self.noted[call_id] = seen


@dataclass
class RunningGateway:
    port: int
    calls: FakeWebCalls
    http: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(self, label: str, path: str = "/", *, method: str = "GET", headers: dict[str, str] | None = None, **options: Any) -> Any:
        """A request to a function by its host."""
        return self.http.request(method, self.url + path, headers={"Host": f"{label}.localhost:{self.port}", **(headers or {})}, **options)

    def websocket(self, label: str, path: str = "/", **options: Any) -> Any:
        return self.http.ws_connect(self.url + path, headers={"Host": f"{label}.localhost:{self.port}"}, **options)


@asynccontextmanager
async def a_gateway(
    *,
    blobs: FakeBlobs | None = None,
    lanes: Any = None,
    traces: Any = None,
    routes: Sequence[BaseRoute] = (),
    ssl_context: ssl.SSLContext | None = None,
    measurements: Any = None,
    measured: Any = None,
    **settings: Any,
) -> AsyncIterator[RunningGateway]:
    port = free_port()
    async with (
        FakeWebCalls() as calls,
        Gateway(
            settings=Settings.load(gateway_port=port, **settings),
            lanes=lanes or StockLanes(calls),
            web_calls=calls,
            proxy_tokens=FakeProxyTokens(),
            blobs=blobs or FakeBlobs(),
            status=lambda: STATUS,
            traces=traces or FakeTraces(),
            routes=routes,
            ssl_context=ssl_context,
            measurements=measurements,
            measured=measured,
        ),
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE)) as http,
    ):
        yield RunningGateway(port, calls, http)
