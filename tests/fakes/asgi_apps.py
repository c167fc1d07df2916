"""ASGI applications that stand for users' containers."""

import asyncio
import json
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse

from freehold.domain.errors import FreeholdError


async def echo(scope, receive, send):
    """Answers with what it saw of the request."""
    request = Request(scope, receive)
    body = await request.body()
    seen = {
        "method": scope["method"],
        "path": scope["path"],
        "root_path": scope["root_path"],
        "query": scope["query_string"].decode(),
        "scheme": scope["scheme"],
        "client": scope["client"],
        "headers": [[name.decode(), value.decode()] for name, value in scope["headers"]],
        "length": len(body),
        "body": body[:100].decode("latin-1"),
    }
    await JSONResponse(seen)(scope, receive, send)


async def start(send, *, status: int = 200, **headers: str) -> None:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": fields})


async def body(send, data: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


def failing(error: FreeholdError | Exception) -> Any:
    """A container that ends before it answers."""

    async def app(scope, receive, send):
        raise error

    return app


def breaking_off(error: FreeholdError) -> Any:
    """A container that ends in the middle of its response."""

    async def app(scope, receive, send):
        await start(send)
        await body(send, b"half")
        raise error

    return app


async def silent(scope, receive, send):
    """Takes the request and never answers."""
    await anyio.sleep_forever()


class Stepwise:
    """Sends one chunk each time the test says so; `client_left` is set by `http.disconnect`."""

    def __init__(self) -> None:
        self._said: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.client_left = anyio.Event()

    def say(self, chunk: bytes) -> None:
        self._said.put_nowait(chunk)

    def end(self) -> None:
        self._said.put_nowait(None)

    async def __call__(self, scope, receive, send):
        await start(send, content_type="text/event-stream")
        async with anyio.create_task_group() as group:
            group.start_soon(self._listen, receive)
            while (chunk := await self._said.get()) is not None:
                await body(send, chunk)
            await body(send, b"", more=False)
            group.cancel_scope.cancel()

    async def _listen(self, receive):
        while (await receive())["type"] != "http.disconnect":
            pass
        self.client_left.set()
        await anyio.sleep_forever()


class Upload:
    """Takes the request apart, one message at a time, and tells each one's size."""

    def __init__(self) -> None:
        self.sizes: asyncio.Queue[int] = asyncio.Queue()

    async def __call__(self, scope, receive, send):
        total, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            total, more = total + len(message["body"]), message["more_body"]
            self.sizes.put_nowait(len(message["body"]))
        await start(send, content_type="application/json")
        await body(send, json.dumps(total).encode(), more=False)
