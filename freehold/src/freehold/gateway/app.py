"""Functions whose containers take requests as messages, as one ASGI application; and the pages of the engine itself."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from freehold.domain.errors import FreeholdError
from freehold.gateway import exposition
from freehold.gateway.asgi import OPENED
from freehold.gateway.blobs import BlobRoutes, Blobs
from freehold.gateway.errors import NotDeployed, response_to
from freehold.gateway.ports import WebCalls
from freehold.gateway.proxy import HttpExchange
from freehold.gateway.routing import Addresses, scope_for
from freehold.gateway.websockets import WebSocketExchange

_log = structlog.get_logger(__name__)

Status = Callable[[], Mapping[str, Any]]

_INTERNAL_ERROR = 1011  # close code of RFC 6455
_MAX_REASON_BYTES = 123  # of a close frame


class Functions:
    """`patience` is how long a request may wait for its first byte; for that of a WebSocket, `handshake_patience`."""

    def __init__(self, *, addresses: Addresses, web_calls: WebCalls, patience: timedelta, handshake_patience: timedelta) -> None:
        self._addresses = addresses
        self._web_calls = web_calls
        self._patience = patience
        self._handshake_patience = handshake_patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = _Reply(send)
        try:
            await self._carry(scope, receive, reply)
        except Exception as error:  # noqa: BLE001 — the edge: whatever happened, the caller gets an answer
            await _refuse(error, scope, receive, reply)

    async def _carry(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        found = self._addresses.find(host, scope["path"])
        if found is None:
            text = f"No function answers at {host}{scope['path']}."
            raise NotDeployed(text)
        address, route = found
        call = await self._web_calls.open(route.target, scope_for(route.target, address, scope))
        if OPENED in scope:
            scope[OPENED](call.call_id, route.target)
        if scope["type"] == "websocket":
            await WebSocketExchange(call=call, receive=receive, send=send, start_timeout=self._handshake_patience).run()
        else:
            await HttpExchange(call=call, receive=receive, send=send, start_timeout=self._patience).run()


def own_pages(*, blobs: Blobs, status: Status, figures: Callable[[], Awaitable[str]], routes: Sequence[BaseRoute] = ()) -> Starlette:
    """What the bare host serves; `figures` are those of `metrics`, `routes` come from other modules, those that people look at too."""

    async def healthz(_: Request) -> Response:
        return JSONResponse(dict(status()))

    async def measured(_: Request) -> Response:
        return Response(await figures(), media_type=exposition.CONTENT_TYPE)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/metrics", measured),
            *BlobRoutes(blobs).routes,
            *routes,
        ],
        exception_handlers={404: _nothing_here, ClientDisconnect: _nobody_reads, FreeholdError: _refusal, Exception: _refusal},
    )


class _Reply:
    """`send` that remembers whether the caller has heard anything yet: until then an error can be told."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        self.has_begun = True
        await self._send(message)


async def _refuse(error: Exception, scope: Scope, receive: Receive, reply: _Reply) -> None:
    if not reply.has_begun:
        await response_to(error, HTTPConnection(scope))(scope, receive, reply)
        return
    # Returning without the end of the body cuts the connection, so that nobody takes half a response for a whole one.
    _log.info("response_cut", path=scope["path"], exc_info=None if isinstance(error, FreeholdError) else error, reason=str(error))
    if scope["type"] == "websocket":
        await reply({"type": "websocket.close", "code": _INTERNAL_ERROR, "reason": _shortened(str(error))})


def _shortened(text: str) -> str:
    return text.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")


async def _refusal(request: Request, error: Exception) -> Response:
    return response_to(error, request)


async def _nothing_here(request: Request, _: Exception) -> Response:
    text = f"Nothing is served at {request.url.path}. A function is at its own host, or at /<label>/ on this one."
    return response_to(NotDeployed(text), request)


async def _nobody_reads(_: Request, __: Exception) -> Response:
    return Response(status_code=400)
