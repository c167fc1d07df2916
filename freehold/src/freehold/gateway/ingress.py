"""Which way each request takes: to a container directly, as messages, or to the engine's own pages."""

from http import HTTPStatus
from typing import Any

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp

from freehold.domain.functions import WebRoute
from freehold.gateway.apart import own_address
from freehold.gateway.asgi import AsgiExchange, scope_of
from freehold.gateway.connections import Connection
from freehold.gateway.errors import NoProxyToken
from freehold.gateway.handover import WebSocketServer
from freehold.gateway.heads import Head
from freehold.gateway.late import Late, call_id_in
from freehold.gateway.limits import Limits
from freehold.gateway.ports import Lanes, Measured, ProxyTokens, Traces
from freehold.gateway.proxy_auth import credentials
from freehold.gateway.relay import Relay
from freehold.gateway.routing import Addresses
from freehold.gateway.state import ServerState


class Ingress:
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
        self._late = Late(limits.redirect_after)
        self.state = ServerState(lanes=lanes, traces=traces, limits=limits, late=self._late, measured=measured)
        self.websockets = WebSocketServer(functions, own_pages)
        self._proxy_tokens = proxy_tokens
        self._addresses = addresses
        self._own_pages = own_pages
        self._functions = functions

    def connection(self) -> Connection:
        """For a caller who has just come."""
        return Connection(self.state, self.begin)

    def begin(self, connection: Connection, head: Head, content: bytes, is_complete: bool) -> None:
        """Raises what its caller is to be told."""
        found = self._addresses.find(head.host.decode("latin-1"), head.path.decode("ascii"))
        if found is None:
            self._begin_page(connection, head, content, is_complete=is_complete)
            return
        address, route = found
        if there := own_address(head, address, connection.peer.scheme, self._addresses.domain):
            elsewhere = RedirectResponse(there, HTTPStatus.TEMPORARY_REDIRECT)
            self._begin_own(connection, head, elsewhere).start(content, is_complete)
            return
        self._check_token(head, route)
        if call_id := call_id_in(head.target):
            self._late.take(call_id, route.target).hand_over(connection)
            return
        connection.exchange = relay = Relay(self.state, connection, head, address, route, begin_stock=self._begin_stock)
        relay.start(content, is_complete)

    def _begin_stock(self, relay: Relay, content: bytes) -> None:
        """The containers of this function take requests as messages."""
        connection = relay.caller
        if isinstance(connection, Connection) and relay.head.upgrade == b"websocket":
            self.websockets.take_over(connection, relay.head)
            return
        exchange = AsgiExchange(
            self.state, connection, relay.head, app=self._functions, kind="data_channel", scope=relay.scope(), request_id=relay.request_id
        )
        exchange.since = relay.since
        if relay.was_put_off:
            exchange.call_id, exchange.owner, exchange.was_put_off = relay.call_id, relay.owner, True
        connection.exchange = exchange
        exchange.start(content, relay.is_complete)

    def _begin_page(self, connection: Connection, head: Head, content: bytes, *, is_complete: bool) -> None:
        if head.upgrade == b"websocket":
            self.websockets.take_over(connection, head, is_own=True)
        else:
            self._begin_own(connection, head, self._own_pages).start(content, is_complete)

    def _begin_own(self, connection: Connection, head: Head, app: ASGIApp) -> AsgiExchange:
        exchange = AsgiExchange(self.state, connection, head, app=app, kind="own", scope=scope_of(head, connection.peer))
        connection.exchange = exchange
        return exchange

    def _check_token(self, head: Head, route: WebRoute) -> None:
        if not (route.needs_proxy_auth or route.target.needs_proxy_auth):
            return
        if not self._proxy_tokens.accepts(*credentials(head), route.target.environment_id):
            text = (
                "This function takes requests with a proxy token only: its id in the field Modal-Key, its secret in Modal-Secret, "
                "or both in `Authorization: Bearer <id>.<secret>`."
            )
            raise NoProxyToken(text)
