"""The gateway as a component: binds its port, serves until its block ends, and leaves signals to the process around it."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

import anyio
import anyio.abc
import uvicorn
from starlette.routing import BaseRoute

from freehold.config import Settings
from freehold.domain.errors import Conflict, FreeholdError
from freehold.gateway.app import GatewayApp, Status, own_pages
from freehold.gateway.blobs import Blobs
from freehold.gateway.heads import BoundedHeads
from freehold.gateway.ports import Stories, WebCalls

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75  # longer than the idle limit of common clients and proxies, so that they close first
_GRACE_SECONDS = 5  # for responses under way when the engine stops
_FAREWELL_SECONDS = 5  # for telling the containers of those that did not make it


class Gateway:
    """`async with Gateway(…):` — on entering it accepts connections; on leaving, responses under way get a few seconds."""

    def __init__(
        self,
        *,
        settings: Settings,
        web_calls: WebCalls,
        blobs: Blobs,
        status: Status,
        stories: Stories,
        routes: Sequence[BaseRoute] = (),
        listener: socket.socket | None = None,
    ) -> None:
        """`routes` are further pages of the bare host. `listener` is a socket that listens already; without one the gateway binds its own."""
        self._settings = settings
        self._listener = listener
        self._app = GatewayApp(
            domain=settings.domain,
            start_timeout=settings.http_request_timeout,
            web_calls=web_calls,
            own_pages=own_pages(blobs=blobs, status=status, stories=stories, routes=routes),
        )
        self._serving: AbstractAsyncContextManager[None] = self._serve()

    async def __aenter__(self) -> Self:
        await self._serving.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        return await self._serving.__aexit__(kind, error, trace)

    @contextlib.asynccontextmanager
    async def _serve(self) -> AsyncIterator[None]:
        failure: Exception | None = None
        with contextlib.closing(self._listener or _bound(self._settings.host, self._settings.gateway_port)) as listener:
            server = _Server(_uvicorn_config(self._app))
            async with anyio.create_task_group() as group:
                await group.start(server.serve_on, listener)
                try:
                    yield
                except Exception as error:  # noqa: BLE001 — raised below: the task group would wrap it, and stop without grace
                    failure = error
                finally:
                    server.should_exit = True
        if failure:
            raise failure


class _Server(uvicorn.Server):
    """uvicorn within a larger process: says when it is ready, and installs no signal handlers."""

    async def serve_on(self, listener: socket.socket, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        self._ready = task_status
        await self.serve(sockets=[listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn cancels what outlives the grace and does not wait for it; the control plane must hear of it before it stops too."""
        await super().shutdown(sockets)
        if cancelled := set(self.server_state.tasks):
            await asyncio.wait(cancelled, timeout=_FAREWELL_SECONDS)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _uvicorn_config(app: GatewayApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedHeads,
        ws="websockets-sansio",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="critical",  # the application's own edge has logged what matters, with its ids
        proxy_headers=False,  # routing.py decides whom to believe
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def _bound(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=_BACKLOG)
    except OSError as error:
        raise _not_bound(error, host, port) from error


def _not_bound(error: OSError, host: str, port: int) -> FreeholdError:
    reason = "is taken by another process" if error.errno == errno.EADDRINUSE else f"cannot be bound ({error.strerror})"
    return Conflict(f"Port {port} on {host} {reason}, so the gateway cannot start. Choose another one with FREEHOLD_GATEWAY_PORT.")
