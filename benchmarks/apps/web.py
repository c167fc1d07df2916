"""The same small ASGI application, in a container and for a bare uvicorn."""

from collections.abc import Awaitable, Callable
from typing import Any

import modal

app = modal.App("bench-web")
BODY = b'{"prediction": 0, "class_name": "setosa"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def answer(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    if scope["type"] != "http":
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


@app.function(max_containers=1)
@modal.concurrent(max_inputs=64)
@modal.asgi_app()
def served() -> Callable[..., Awaitable[None]]:
    return answer
