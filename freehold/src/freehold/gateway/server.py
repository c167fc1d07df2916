"""The gateway as a component: binds its port, serves until its block ends, and leaves signals to the process around it."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import anyio
from starlette.routing import BaseRoute

from freehold.config import Settings
from freehold.domain.errors import Conflict, FreeholdError
from freehold.gateway import doors, exposition
from freehold.gateway.app import Functions, Status, own_pages
from freehold.gateway.blobs import Blobs
from freehold.gateway.exposition import Measurements
from freehold.gateway.ingress import Ingress
from freehold.gateway.limits import Limits, allow_descriptors
from freehold.gateway.own_hosts import OwnHosts
from freehold.gateway.ports import Lanes, Measured, ProxyTokens, Traces, WebCalls
from freehold.gateway.routing import Addresses

_BACKLOG = 2048
_GRACE_SECONDS = 5  # for responses under way when the engine stops
_FAREWELL_SECONDS = 5  # for telling the containers of those that did not make it
_LOOK_SECONDS = 0.02
_OTHER_DESCRIPTORS = 4096  # those that are not callers' connections


class Gateway:
    """`async with Gateway(…):` — on entering it accepts connections; on leaving, responses under way get a few seconds."""

    def __init__(
        self,
        *,
        settings: Settings,
        lanes: Lanes[Any],
        web_calls: WebCalls,
        proxy_tokens: ProxyTokens,
        blobs: Blobs,
        status: Status,
        traces: Traces,
        measurements: Measurements | None = None,
        measured: Measured | None = None,
        routes: Sequence[BaseRoute] = (),
        listener: socket.socket | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """`measurements` are what `/metrics` shows besides the gateway's own. `routes` are further pages of the bare host. `listener` is a socket that listens already; without one the gateway binds its own."""
        self._settings = settings
        self._listener = listener
        self._ssl_context = ssl_context
        self._measurements = measurements
        addresses = Addresses(lanes, settings.domain)
        self._ingress = Ingress(
            lanes=lanes,
            proxy_tokens=proxy_tokens,
            traces=traces,
            addresses=addresses,
            limits=Limits.of(settings),
            measured=measured,
            own_pages=OwnHosts(own_pages(blobs=blobs, status=status, figures=self.figures, routes=routes), domain=settings.domain),
            functions=Functions(
                addresses=addresses,
                web_calls=web_calls,
                patience=_patience(settings),
                handshake_patience=settings.http_request_timeout,
            ),
        )
        self._serving: AbstractAsyncContextManager[None] = self._serve()

    async def figures(self) -> str:
        state = self._ingress.state
        families = list(state.metrics.families(state.gauges()))
        if self._measurements is not None:
            functions, engine = await self._measurements()
            families += [*exposition.of_functions(functions), *exposition.of_engine(engine)]
        return exposition.text(families)

    async def __aenter__(self) -> Self:
        await self._serving.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        return await self._serving.__aexit__(kind, error, trace)

    @contextlib.asynccontextmanager
    async def _serve(self) -> AsyncIterator[None]:
        failure: Exception | None = None
        state = self._ingress.state
        allow_descriptors(self._settings.http_connections + _OTHER_DESCRIPTORS)
        with contextlib.closing(self._listener or _bound(self._settings.host, self._settings.gateway_port)) as listener:
            listener.setblocking(False)
            async with anyio.create_task_group() as group:
                state.open(group)
                group.start_soon(state.sweep_often)
                try:
                    async with self._accepting(listener):
                        yield
                except Exception as error:  # noqa: BLE001 — raised below: the task group would wrap it, and stop without grace
                    failure = error
                finally:
                    with anyio.CancelScope(shield=True):
                        await self._end(group.cancel_scope)
        if failure:
            raise failure

    @contextlib.asynccontextmanager
    async def _accepting(self, listener: socket.socket) -> AsyncIterator[None]:
        """Until the end of the block; connections that are there stay."""
        if self._ssl_context is not None:
            async with doors.serving(listener, self._ingress.connection, self._ssl_context):
                yield
            return
        server = await asyncio.get_running_loop().create_server(self._ingress.connection, sock=listener, backlog=_BACKLOG)
        try:
            yield
        finally:
            server.close()

    async def _end(self, work: anyio.CancelScope) -> None:
        """What outlives the grace is cancelled; the control plane must hear of it before it stops too."""
        state, websockets = self._ingress.state, self._ingress.websockets
        state.shutdown()
        websockets.shutdown()
        with anyio.move_on_after(_GRACE_SECONDS):
            while state.busy or websockets.is_busy:  # noqa: ASYNC110 — a stop is rare
                await anyio.sleep(_LOOK_SECONDS)
        await websockets.cancel(_FAREWELL_SECONDS)
        state.close()
        with anyio.move_on_after(_FAREWELL_SECONDS):
            while state.tasks:  # noqa: ASYNC110
                await anyio.sleep(_LOOK_SECONDS)
        state.leave()
        work.cancel()


def _patience(settings: Settings) -> timedelta:
    """A caller who is asked to come back before this is over does not wait for so long; then the function's own timeout decides."""
    wait = settings.http_request_timeout
    return wait if wait < settings.http_redirect_after else timedelta(days=1)


def _bound(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=_BACKLOG)
    except OSError as error:
        raise _not_bound(error, host, port) from error


def _not_bound(error: OSError, host: str, port: int) -> FreeholdError:
    reason = "is taken by another process" if error.errno == errno.EADDRINUSE else f"cannot be bound ({error.strerror})"
    return Conflict(f"Port {port} on {host} {reason}, so the gateway cannot start. Choose another one with FREEHOLD_GATEWAY_PORT.")
