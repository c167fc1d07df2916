"""The span of each HTTP request: a plain ASGI layer that is there only where traces are sent."""

import inspect
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modalkit import _telemetry

# Asked every few seconds by machines; traces of them would hide the others.
_UNTRACED = frozenset({"/health", "/health/live", "/health/ready", "/metrics", "/v2/health/live", "/v2/health/ready"})


def install(app: FastAPI) -> None:
    """Puts the layer around what the app has so far."""
    if _telemetry.is_on():
        app.add_middleware(Traced)


def options() -> dict[str, Any]:
    """Keywords of FastAPI: its newer versions make spans of requests themselves, which would be there twice."""
    if not _telemetry.is_on() or "telemetry" not in inspect.signature(FastAPI).parameters:
        return {}
    return {"telemetry": {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}}


class Traced:
    """The layer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self._app(scope, receive, send)
            return
        with _telemetry.request_span(scope) as span:

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.answered(message)
                await send(message)

            await self._app(scope, receive, noted)
