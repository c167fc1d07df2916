"""What all connections share, and which way each request takes: to a container directly, as messages, or to the engine's own pages."""

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

import structlog
from anyio.abc import TaskGroup
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp

from freehold.domain.errors import FreeholdError
from freehold.domain.functions import WebRoute
from freehold.gateway.apart import own_address
from freehold.gateway.asgi import AsgiExchange, scope_of
from freehold.gateway.connections import Connection
from freehold.gateway.errors import NoProxyToken
from freehold.gateway.handover import WebSocketServer
from freehold.gateway.heads import Head
from freehold.gateway.late import Late, call_id_in
from freehold.gateway.limits import KEEP_ALIVE_SECONDS, LINGER_SECONDS, PAUSE_SECONDS, SWEEP_SECONDS, Deadlines, Limits, Visitors
from freehold.gateway.metrics import Metrics
from freehold.gateway.ports import Lanes, Measured, ProxyTokens, Traces
from freehold.gateway.proxy_auth import credentials
from freehold.gateway.relay import Relay
from freehold.gateway.routing import Addresses
from freehold.gateway.upstreams import Upstreams

_log = structlog.get_logger(__name__)


class Ingress:
    """`now` is the loop's time at the last sweep: nothing here needs it more exactly."""

    def __init__(
        self,
        *,
        lanes: Lanes[Any],
        proxy_tokens: ProxyTokens,
        traces: Traces,
        addresses: Addresses,
        limits: Limits,
        own_pages: ASGIApp,
        functions: ASGIApp,
        measured: Measured | None = None,
    ) -> None:
        """`functions` is the application that carries requests to containers as messages."""
        self.lanes = lanes
        self.measured = measured
        self.traces = traces
        self.limits = limits
        self.metrics = Metrics()
        self.late = Late(limits.redirect_after)
        self.busy: set[Connection] = set()
        self.tasks = 0  # that serve requests
        self.waiting = 0  # requests without a container
        self.is_closing = False
        self.pausing = Deadlines[Connection](PAUSE_SECONDS, lambda connection: connection.rest())
        self.idle = Deadlines[Connection](KEEP_ALIVE_SECONDS - PAUSE_SECONDS, lambda connection: connection.expire())
        self.heads = Deadlines[Connection](limits.head_time, lambda connection: connection.give_up_head())
        self.discarding = Deadlines[Connection](limits.body_time, lambda connection: connection.transport.abort())
        self.lingering = Deadlines[Connection](LINGER_SECONDS, lambda connection: connection.expire())
        self.connections: set[Connection] = set()
        self._visitors = Visitors(limits)
        self._proxy_tokens = proxy_tokens
        self._addresses = addresses
        self._own_pages = own_pages
        self._functions = functions

    def open(self, group: TaskGroup) -> None:
        """Must be called in the loop that serves, before anything else."""
        self.loop = asyncio.get_running_loop()
        self.upstreams: Upstreams[Any] = Upstreams(self.loop)
        self.websockets = WebSocketServer(self._functions)
        self._group = group
        self._tick()

    def shutdown(self) -> None:
        """Nothing new; what is under way may end."""
        self.is_closing = True
        for connection in tuple(self.connections):
            connection.shutdown()
        self.websockets.shutdown()

    def close(self) -> None:
        """End what is under way."""
        for connection in tuple(self.connections):
            connection.stop()
        self.late.close()
        self.upstreams.close()

    def leave(self) -> None:
        """What was answered last is out: nobody is waited for any more."""
        for connection in tuple(self.connections):
            connection.transport.close()

    def spawn(self, work: Callable[[], Awaitable[None]]) -> None:
        self.tasks += 1
        self._group.start_soon(self._run, work)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        finally:
            self.tasks -= 1

    # Connections.

    def welcome(self, connection: Connection) -> str:
        """Why it cannot stay; empty: it can."""
        self.connections.add(connection)
        self.pausing.begin(connection, self.now)
        address = connection.peer.address[0] if connection.peer.address else ""
        self._visitors.come(address)
        return self._visitors.excess(address, is_local=connection.peer.is_local)

    def forget(self, connection: Connection) -> None:
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        self.busy.discard(connection)
        for deadlines in (self.pausing, self.idle, self.heads, self.discarding, self.lingering):
            deadlines.end(connection)
        self._visitors.leave(connection.peer.address[0] if connection.peer.address else "")

    async def sweep_often(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._sweep()

    def gauges(self) -> dict[str, tuple[str, int]]:
        return {
            "connections": ("Connections that are open.", len(self.connections)),
            "requests_waiting": ("Requests that wait for a container.", self.waiting),
            "requests_under_way": ("Requests without a complete response.", len(self.busy)),
            "responses_kept": ("Requests that go on without their callers, who were asked to come back.", len(self.late)),
        }

    # Requests.

    def begin(self, connection: Connection, head: Head, content: bytes, *, is_complete: bool) -> None:
        """Raises what its caller is to be told."""
        found = self._addresses.find(head.host.decode("latin-1"), head.path.decode("ascii"))
        if found is None:
            self._begin_own(connection, head, content, is_complete=is_complete)
            return
        address, route = found
        if there := own_address(head, address, connection.peer.scheme, self._addresses.domain):
            self._begin_own(connection, head, content, is_complete=is_complete, app=RedirectResponse(there, HTTPStatus.TEMPORARY_REDIRECT))
            return
        self._check_token(head, route)
        if call_id := call_id_in(head.target):
            self.late.take(call_id, route.target).hand_over(connection)
            return
        connection.exchange = relay = Relay(self, connection, head, address, route)
        relay.start(content, is_complete)

    def begin_stock(self, relay: Relay, content: bytes) -> None:
        """The containers of this function take requests as messages."""
        connection = relay.caller
        if isinstance(connection, Connection) and relay.head.upgrade == b"websocket":
            self.websockets.take_over(connection, relay.head)
            return
        exchange = AsgiExchange(
            self, connection, relay.head, app=self._functions, kind="data_channel", scope=relay.scope(), request_id=relay.request_id
        )
        exchange.since = relay.since
        if relay.was_put_off:
            exchange.call_id, exchange.owner, exchange.was_put_off = relay.call_id, relay.owner, True
        connection.exchange = exchange
        exchange.start(content, relay.is_complete)

    def _begin_own(self, connection: Connection, head: Head, content: bytes, *, is_complete: bool, app: ASGIApp | None = None) -> None:
        scope = scope_of(head, connection.peer)
        connection.exchange = exchange = AsgiExchange(self, connection, head, app=app or self._own_pages, kind="own", scope=scope)
        exchange.start(content, is_complete)

    def _check_token(self, head: Head, route: WebRoute) -> None:
        if not (route.needs_proxy_auth or route.target.needs_proxy_auth):
            return
        if not self._proxy_tokens.accepts(*credentials(head), route.target.environment_id):
            text = (
                "This function takes requests with a proxy token only: its id in the field Modal-Key, its secret in Modal-Secret, "
                "or both in `Authorization: Bearer <id>.<secret>`."
            )
            raise NoProxyToken(text)

    # The steps.

    def _sweep(self) -> None:
        self._tick()
        for connection in tuple(self.busy):
            connection.check(self.now)
        for deadlines in (self.pausing, self.idle, self.heads, self.discarding, self.lingering):
            deadlines.sweep(self.now)
        self.late.sweep(self.now)
        self.upstreams.sweep(self.now)

    def _tick(self) -> None:
        self.now = self.loop.time()
        self.date_line = b"\r\ndate: " + formatdate(usegmt=True).encode()

    def log_cut(self, head: Head | None, error: Exception) -> None:
        what = None if isinstance(error, FreeholdError) else error
        _log.info("response_cut", path=head.target.decode("latin-1") if head else "", exc_info=what, reason=str(error))
