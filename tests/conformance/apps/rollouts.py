"""An app under load while it is replaced."""

import asyncio
import os
import time
from collections.abc import Callable

import modal

VERSION = 1
BREAKS = False

app = modal.App("rollouts")

if BREAKS and not modal.is_local():
    message = "the new version falls over"
    raise RuntimeError(message)


@app.function(max_containers=3)
def version(seconds: float = 0.02) -> int:
    """It is the first version that takes long."""
    time.sleep(seconds if VERSION == 1 else 0.02)
    return VERSION


@app.function(max_containers=3)
def where(seconds: float = 0) -> str:
    time.sleep(seconds)
    return os.environ["MODAL_TASK_ID"]


@app.cls(max_containers=1)
class Named:
    name: str = modal.parameter()

    @modal.method()
    def version(self) -> tuple[str, int]:
        return self.name, VERSION


@app.function(max_containers=2)
@modal.concurrent(max_inputs=10)
@modal.asgi_app()
def web() -> Callable:
    return _app


async def _app(scope: dict, receive: Callable, send: Callable) -> None:
    is_slow = scope["path"].endswith(("/drip", "/pour"))
    handlers = {"http": _drip if is_slow else _version, "websocket": _socket}
    if scope["type"] in handlers:
        await handlers[scope["type"]](scope, receive, send)


async def _version(scope: dict, receive: Callable, send: Callable) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(VERSION).encode()})


async def _drip(scope: dict, receive: Callable, send: Callable) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for number in range(8 if scope["path"].endswith("/drip") else 120):
        await send({"type": "http.response.body", "body": f"{VERSION}.{number} ".encode(), "more_body": True})
        await asyncio.sleep(0.5)
    await send({"type": "http.response.body", "body": b"dry"})


async def _socket(scope: dict, receive: Callable, send: Callable) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": str(VERSION)})
