"""A web app that calls a function, and says what it is told of its trace."""

from collections.abc import Awaitable, Callable
from typing import Any

import modal

app = modal.App("traces")


@app.function()
def double(x: int) -> int:
    return 2 * x


@app.function()
@modal.asgi_app()
def front() -> Callable[..., Awaitable[None]]:
    async def answer(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] != "http":
            return
        told = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        await double.remote.aio(21)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(told))]})
        await send({"type": "http.response.body", "body": told})

    return answer
