"""Keeps the engine's own pages from the names that a proxy in front hands on: those are the users' functions' names, also of functions that
are no more.
"""

import ipaddress

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.domain.domains import name_in_host


class OwnHosts:
    """ASGI middleware. A request that came through a proxy must be for an address, the engine's domain or a name without dots."""

    def __init__(self, app: ASGIApp, *, domain: str) -> None:
        self._app = app
        self._domain = domain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"} and self._is_foreign(Headers(scope=scope)):
            answer = JSONResponse({"error": "not_found", "detail": "No web function answers at this host."}, 404)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_foreign(self, headers: Headers) -> bool:
        if not ({"x-forwarded-for", "forwarded"} & set(headers.keys())):
            return False
        name = name_in_host(headers.get("host", "")).strip("[]")
        return "." in name and name != self._domain and not _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
