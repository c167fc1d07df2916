"""The gateway's ASGI application: a function's address is carried to its container, the bare host answers for the engine itself."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.domain.errors import FreeholdError, NotFound
from freehold.domain.functions import WebTarget
from freehold.gateway import pages
from freehold.gateway.blobs import BlobRoutes, Blobs
from freehold.gateway.errors import NotDeployed, response_of
from freehold.gateway.ports import Stories, WebCalls
from freehold.gateway.proxy import HttpExchange
from freehold.gateway.routing import Address, address_of, scope_for
from freehold.gateway.websockets import WebSocketExchange

_log = structlog.get_logger(__name__)

Status = Callable[[], Mapping[str, Any]]

_INTERNAL_ERROR = 1011  # close code of RFC 6455
_MAX_REASON_BYTES = 123  # of a close frame


class GatewayApp:
    def __init__(self, *, domain: str, start_timeout: timedelta, web_calls: WebCalls, own_pages: ASGIApp) -> None:
        self._domain = domain
        self._start_timeout = start_timeout
        self._web_calls = web_calls
        self._own_pages = own_pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = address_of(scope, self._domain)
        if address is None:
            await self._own_pages(scope, receive, send)
            return
        reply = _Reply(send)
        try:
            await self._carry(address, scope, receive, reply)
        except Exception as error:  # noqa: BLE001 — the edge: whatever happened, the caller gets an answer
            await _refuse(error, scope, receive, reply)

    async def _carry(self, address: Address, scope: Scope, receive: Receive, send: Send) -> None:
        target = await self._target(address)
        call = await self._web_calls.open(target, scope_for(target, address, scope))
        exchange = WebSocketExchange if scope["type"] == "websocket" else HttpExchange
        await exchange(call=call, receive=receive, send=send, start_timeout=self._start_timeout).run()

    async def _target(self, address: Address) -> WebTarget:
        try:
            return await self._web_calls.target_of_label(address.label)
        except NotFound as error:
            raise NotDeployed(*error.args) from error


def own_pages(*, blobs: Blobs, status: Status, stories: Stories, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """What the bare host serves; `routes` come from other modules."""

    async def index(_: Request) -> Response:
        return pages.index(status())

    async def healthz(_: Request) -> Response:
        return JSONResponse(dict(status()))

    async def story(request: Request) -> Response:
        return pages.story(await stories.of(request.path_params["subject"]))

    return Starlette(
        routes=[Route("/", index), Route("/healthz", healthz), Route("/id/{subject}", story), *BlobRoutes(blobs).routes, *routes],
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
        await response_of(error, HTTPConnection(scope))(scope, receive, reply)
        return
    # Returning without the end of the body cuts the connection, so that nobody takes half a response for a whole one.
    _log.info("response_cut", path=scope["path"], exc_info=None if isinstance(error, FreeholdError) else error, reason=str(error))
    if scope["type"] == "websocket":
        await reply({"type": "websocket.close", "code": _INTERNAL_ERROR, "reason": _shortened(str(error))})


def _shortened(text: str) -> str:
    return text.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")


async def _refusal(request: Request, error: Exception) -> Response:
    return response_of(error, request)


async def _nothing_here(request: Request, _: Exception) -> Response:
    text = f"Nothing is served at {request.url.path}. A function is at its own host, or at /<label>/ on this one."
    return response_of(NotDeployed(text), request)


async def _nobody_reads(_: Request, __: Exception) -> Response:
    return Response(status_code=400)
