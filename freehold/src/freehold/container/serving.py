"""HTTP in a container: uvicorn's protocols on a unix socket, for the one caller there is, the engine's gateway.

It tells in fields what the connection cannot: who asks (`x-forwarded-*`), which method of a class is meant, and as which input.

In containers this is `freehold_web.serving`, beside copies of uvicorn, httptools and websockets under names of their own, so that the
user's versions, or none, stay as they are (`worker/servers.py`).
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected

_FAREWELL = 0.5  # seconds for an app to hear that its caller has left, before its task is cancelled
_GOODBYE = 10.0  # the same for WebSockets: whoever was told may still save, or tell others
_INTERRUPTION = 5.0  # seconds for cancelled tasks to end
_FOR_EVER = 10.0**7  # seconds that a connection may be idle: the gateway keeps as many as it wants
_INTERNAL_ERROR = 1011  # close code of RFC 6455
_SECURE = {"http": "https", "ws": "wss"}
_NO_APP = (b"content-type", b"text/plain; charset=utf-8")

App = Callable[[Any, Any, Any], Awaitable[None]]

_log = logging.getLogger("freehold_web")
_log.propagate = False  # however the user's code configures logging: what is told here goes to stderr
_log.setLevel(logging.WARNING)


class Site(NamedTuple):
    """An ASGI app, and the state of its lifespan, which each request gets a copy of."""

    app: App
    state: dict[str, Any]


class Server:
    """Serves sites by the names of their methods; a plain function's name is empty."""

    def __init__(self, sites: Mapping[str, Site], set_ids: Callable[[str, str], None] | None = None) -> None:
        self._front = _Front(sites, set_ids or _modal_ids())
        self._state = SimpleNamespace(total_requests=0, connections=set(), tasks=set(), default_headers=[])
        self._settings = _settings(self._front)
        self._listener: asyncio.AbstractServer

    async def start(self, path: str) -> None:
        self._listener = await asyncio.get_running_loop().create_unix_server(self._connection, path, backlog=4096)

    async def leave(self) -> None:
        """Finish what runs, take nothing more."""
        self._listener.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        while self._state.tasks:
            await asyncio.wait(set(self._state.tasks))

    async def interrupt(self) -> None:
        """Cancel what runs; what does not end soon is left to the end of the loop."""
        self._listener.close()
        self._front.is_over = True
        tasks = set(self._state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_INTERRUPTION)
        for connection in list(self._state.connections):
            connection.transport.abort()

    def _connection(self) -> asyncio.Protocol:
        return _Http(self._settings, self._state, {})


def _modal_ids() -> Callable[[str, str], None]:
    from modal._runtime.execution_context import _set_current_context_ids

    def set_ids(input_id: str, call_id: str) -> None:
        _set_current_context_ids([input_id], [call_id], [""])

    return set_ids


def _settings(app: App) -> SimpleNamespace:
    """What uvicorn's protocols read from its `Config`."""
    return SimpleNamespace(
        loaded=True,
        loaded_app=app,
        ws_protocol_class=_websocket,
        root_path="",
        asgi_version="3.0",
        limit_concurrency=None,
        timeout_keep_alive=_FOR_EVER,
        reset_contextvars=False,
        ws_per_message_deflate=True,
        ws_max_size=16 * 1024 * 1024,
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
    )


class _Http(HttpToolsProtocol):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.logger = _log
        self.access_log = False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.cycle is not None and not self.cycle.response_complete:
            cancel_later(self.cycle, self.loop, _FAREWELL)


def cancel_later(exchange: Any, loop: asyncio.AbstractEventLoop, pause: float) -> None:
    """Its caller has left, and the app has been told."""
    task = getattr(exchange, "task", None)
    if task is not None and not task.done():
        timer = loop.call_later(pause, task.cancel)
        task.add_done_callback(lambda _: timer.cancel())


def _websocket(**options: Any) -> asyncio.Protocol:
    """Most containers never need it, and it takes longer to import than all else here."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    class WebSocket(WebSocketsSansIOProtocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            cancel_later(self, self.loop, _GOODBYE)

    made = WebSocket(**options)
    made.logger = _log
    return made


class _Front:
    """The ASGI app that uvicorn sees: reads what the gateway tells, and does for the user's app what modal's wrapper does."""

    def __init__(self, sites: Mapping[str, Site], set_ids: Callable[[str, str], None]) -> None:
        self._sites = {name.encode(): site for name, site in sites.items()}
        self._only = next(iter(sites.values())) if len(sites) == 1 else None
        self._set_ids = set_ids
        self.is_over = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        exchange = receive.__self__
        exchange.task = asyncio.current_task()
        site = self._read(scope)
        try:
            await site.app(scope, receive, send)
        except ClientDisconnected:
            raise
        except asyncio.CancelledError:
            if not self.is_over and not exchange.disconnected:
                await _fail(scope, exchange, send)
            exchange.disconnected = True
        except BaseException:  # noqa: BLE001 — as the stock runtime does it
            traceback.print_exception(*sys.exc_info())
            await _fail(scope, exchange, send)

    def _read(self, scope: Any) -> Site:
        """Which site is meant; the scope is made what that site's app would see of the caller."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        told = {name: value for name, value in headers if name[:2] == b"x-" or name == b"host"}
        site = self._only or self._sites.get(told.get(b"x-freehold-method", b"")) or Site(_no_such_method, {})
        scope["headers"] = [pair for pair in headers if pair[0][:11] != b"x-freehold-"]
        scope["state"] = site.state.copy()
        if ids := told.get(b"x-freehold-ids"):
            input_id, _, call_id = ids.decode("latin-1").partition(",")
            self._set_ids(input_id, call_id)
        _tell_caller(scope, told)
        return site


def _tell_caller(scope: Any, told: Mapping[bytes, bytes]) -> None:
    """The path has come as the app is to see it: with the prefix, which is the app's `root_path`, or without."""
    scope["root_path"] = told.get(b"x-forwarded-prefix", b"").decode("latin-1")
    if told.get(b"x-forwarded-proto") in {b"https", b"wss"}:
        scope["scheme"] = _SECURE[scope["scheme"]]
    address = told.get(b"x-forwarded-for", b"").rpartition(b",")[2].strip().decode("latin-1")
    scope["client"] = (address, 0) if address else None
    name = told.get(b"x-forwarded-host", told.get(b"host", b"")).decode("latin-1")
    host, _, port = name.rpartition(":")
    default = 443 if scope["scheme"] in {"https", "wss"} else 80
    scope["server"] = (host, int(port)) if host and port.isdecimal() else (name, default)


async def _no_such_method(scope: Any, receive: Any, send: Any) -> None:
    del receive
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 404, "headers": [_NO_APP]})
        await send({"type": "http.response.body", "body": b"There is no such method."})
    else:
        await send({"type": "websocket.close"})


async def _fail(scope: Any, exchange: Any, send: Any) -> None:
    """A 500 if nothing was said yet. Half a response is cut off, so that nobody takes it for a whole one; a whole one, as frameworks send it
    before they raise their error again, leaves the connection to the next request, which may be on its way already.
    """
    if scope["type"] == "websocket":
        await _fail_websocket(exchange, send)
    elif not exchange.response_started:
        await exchange.send_500_response()
    elif not exchange.response_complete:
        exchange.disconnected = True
        exchange.transport.close()


async def _fail_websocket(exchange: Any, send: Any) -> None:
    if not exchange.handshake_complete:
        exchange.send_500_response()
        exchange.handshake_complete = True
    elif not exchange.close_sent and not exchange.disconnected:
        await send({"type": "websocket.close", "code": _INTERNAL_ERROR})
