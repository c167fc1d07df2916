"""What FastAPI does for the first time with its first app and the first request to it, done once in a zygote instead of in every task.

A third of a web function's start goes there: modules are imported as they are needed, types compiled. No code of the user's takes part, and
what a sync endpoint would need a thread for is only imported.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

_LATE = ("anyio._backends._asyncio", "starlette.concurrency")
_BODY = b'{"words": ["a"]}'


def rehearse() -> None:
    """Needs FastAPI. Raises whatever it raises."""
    from modal._runtime.asgi import magic_fastapi_app

    async def get(number: int = 0) -> dict[str, int]:
        return {"number": number}

    async def post(body: dict[str, Any]) -> dict[str, Any]:
        return body

    get.__annotations__ = {"number": int, "return": dict}  # FastAPI would look for the names of this module's
    post.__annotations__ = {"body": dict, "return": dict}
    for name in _LATE:
        import_module(name)
    for method, endpoint in (("GET", get), ("POST", post)):
        asyncio.run(_ask(magic_fastapi_app(endpoint, method, False), method))


async def _ask(app: Any, method: str) -> None:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "path": "/",
        "raw_path": b"/",
        "query_string": b"number=1",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "scheme": "http",
        "root_path": "",
        "state": {},
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": _BODY, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        del message

    await app(scope, receive, send)
