"""What takes much of something: bodies of a gigabyte, and a site that is deployed anew while it is asked."""

import os
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

import modal

image = modal.Image.debian_slim()
if modal.is_local():
    image = image.pip_install(f"fastapi=={version('fastapi')}", f"starlette=={version('starlette')}")
app = modal.App("bench-limits", image=image)
settings = modal.Secret.from_dict({"VERSION": os.environ.get("VERSION", "1")})
_PIECE = bytes(256 * 1024)


@app.function(max_containers=1, scaledown_window=600)
@modal.concurrent(max_inputs=100)
@modal.asgi_app()
def bodies() -> Any:
    """`PUT /` counts what it is sent; `GET /<bytes>` sends so many."""
    from fastapi import FastAPI, Request
    from fastapi.responses import StreamingResponse

    site = FastAPI()

    @site.put("/")
    async def take(request: Request) -> int:
        total = 0
        async for piece in request.stream():
            total += len(piece)
        return total

    @site.get("/{size}")
    async def give(size: int) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(size // len(_PIECE)):
                yield _PIECE

        return StreamingResponse(pieces(), media_type="application/octet-stream")

    return site


@app.function(secrets=[settings], min_containers=1, scaledown_window=60)
@modal.concurrent(max_inputs=100)
@modal.asgi_app()
def site() -> Any:
    """Says which version answers."""
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse

    pages = FastAPI()

    @pages.get("/", response_class=PlainTextResponse)
    async def answer() -> str:
        return os.environ["VERSION"]

    return pages
