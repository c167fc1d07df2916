"""The same small applications, in a container and for a bare uvicorn."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import modal

image = modal.Image.debian_slim()
if modal.is_local():
    image = image.pip_install(f"fastapi=={version('fastapi')}", f"starlette=={version('starlette')}")  # as the bare one has
app = modal.App("bench-web", image=image)
BODY = b'{"prediction": 0, "class_name": "setosa"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def raw(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """The least that an ASGI app can do: what carries it is nearly all that is measured."""
    if scope["type"] != "http":
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


def routed() -> Any:
    """An async route of FastAPI."""
    from fastapi import FastAPI

    site = FastAPI()

    @site.get("/")
    async def answer() -> dict[str, Any]:
        return {"prediction": 0, "class_name": "setosa"}

    return site


@app.function(max_containers=1, min_containers=1)
@modal.concurrent(max_inputs=100)
@modal.asgi_app()
def served() -> Callable[..., Awaitable[None]]:
    return raw


@app.function(max_containers=1, min_containers=1)
@modal.concurrent(max_inputs=100)
@modal.asgi_app()
def served_route() -> Any:
    return routed()
