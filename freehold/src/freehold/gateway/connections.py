"""One caller's connection: requests are cut out of what arrives and given on one after the other, each when the one before is answered."""

import asyncio
import ipaddress
import math
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from typing import cast

import structlog

from freehold.domain.errors import FreeholdError
from freehold.gateway.bodies import Body, ChunkedBody, SizedBody, too_large
from freehold.gateway.errors import BodyTooLarge, Malformed, ManyFields, Stopping, TooManyConnections, TooSlow, response_of
from freehold.gateway.exchanges import Exchange
from freehold.gateway.heads import LIMIT, Head, fault_so_far
from freehold.gateway.outlet import Outlet
from freehold.gateway.routing import Peer
from freehold.gateway.state import ServerState

_log = structlog.get_logger(__name__)

_ENDED = frozenset({7, 8})  # CLOSE and CLOSE_WAIT of Linux: the other end has left, or says nothing more
_MAX_AHEAD = 64 * 1024  # bytes of requests that came before it was their turn
_MAX_REMEMBERED = 4096  # bytes of a head, while nothing is asked
_MAX_DISCARDED = 16 * 1024 * 1024  # bytes of a body that nobody reads any more; then the connection ends
_END_OF_HEAD = b"\r\n\r\n"
_EMPTY_LINES = re.compile(rb"(?:\r\n)++")


class Connection(Outlet):
    """Nothing is in progress, or a head, or an exchange, or the rest of a body whose response is out already."""

    __slots__ = (
        "_ahead",
        "_begin_request",
        "_body",
        "_body_at",
        "_discarded",
        "_head_data",
        "_is_closed",
        "_is_held",
        "_is_lingering",
        "_scanned",
        "exchange",
        "is_tunnel",
        "peer",
        "state",
    )

    def __init__(self, state: ServerState, begin_request: Callable[["Connection", Head, bytes, bool], None]) -> None:
        """`begin_request` gives the connection an exchange for a head and what of the body is there, perhaps all; or raises the refusal."""
        super().__init__()
        self.state = state
        self._begin_request = begin_request
        self.exchange: Exchange | None = None
        self.is_tunnel = False  # all that comes belongs to the exchange
        self._ahead = b""
        self._head_data = b""
        self._scanned = 0  # bytes of it in which no head ends
        self._body: Body | None = None
        self._body_at = 0.0
        self._discarded = 0
        self._is_held = self._is_closed = self._is_lingering = False

    # The loop's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.peer = _peer(self.transport)
        if excess := self.state.welcome(self):
            self._fail(TooManyConnections(excess))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._is_closed = True
        self.state.forget(self)
        if self.exchange:
            exchange, self.exchange = self.exchange, None
            exchange.caller_left()

    def data_received(self, data: bytes) -> None:
        if self._is_lingering:
            return
        if self._body is not None:
            self._take_body(self._body, data)
        elif self.exchange is None and not self.is_slow:
            self._take_head(data)
        elif self.is_tunnel and self.exchange:
            self.exchange.receive(data, is_complete=False)
        else:
            self._take_ahead(data)

    def pause_writing(self) -> None:
        self.is_slow = True
        if self.exchange:
            self.exchange.caller_is_slow()

    def resume_writing(self) -> None:
        self.is_slow = False
        if self.exchange:
            self.exchange.caller_is_ready()
        elif self._ahead:
            self.state.loop.call_soon(self._take_next)

    # The exchange's side.

    @property
    def is_awaited(self) -> bool:
        return self.is_slow or (self._body is not None and not self._is_held)

    def inform(self, status: int, lines: bytes = b"") -> None:
        super().inform(status, lines)
        if status == HTTPStatus.CONTINUE:
            self._body_at = self.state.now

    def begin(self, status: int, lines: bytes, length: bytes | None) -> None:
        if self._body is not None and self._body_at == math.inf:
            self.keeps_alive = False  # nobody knows whether a body will come that nobody asked for
        super().begin(status, lines, length)

    def cut(self) -> None:
        super().cut()
        self._await_end()

    def hold(self) -> None:
        if not self._is_held and not self.transport.is_closing():
            self._is_held = True
            self.transport.pause_reading()

    def let_go(self) -> None:
        if self._is_held and not self.transport.is_closing():
            self._is_held = False
            self._body_at = max(self._body_at, self.state.now)
            self.transport.resume_reading()

    def refuse(self, error: Exception) -> None:
        if self.has_begun or self.transport.is_closing():
            _log_cut(self.head, error)
            self.cut()
            return
        head = self.head
        self.answer(response_of(error, accept=head.field(b"accept") if head else b"", path=head.target.decode("latin-1") if head else ""))

    def switch(self, lines: bytes) -> None:
        """What came ahead goes first."""
        super().switch(lines)
        self.is_tunnel = True
        self.let_go()
        if self._ahead and self.exchange:
            data, self._ahead = self._ahead, b""
            self.exchange.receive(data, is_complete=False)

    def release_transport(self) -> bytes:
        """Another protocol takes over the transport. Returns what it has yet to read."""
        self.let_go()
        self.state.forget(self)
        self.exchange = None
        return self._ahead

    def responded(self) -> None:
        self.state.metrics.count(self.exchange.kind if self.exchange else "refused", self.status)
        self.exchange, self.has_begun = None, False
        if len(self._head_data) > _MAX_REMEMBERED:
            self._forget_head()
        self.state.busy.discard(self)
        if not self.keeps_alive:
            self._end()
        elif self._body is None:
            self._go_on()
        else:
            self.let_go()
            self.state.discarding.begin(self, self.state.now)

    # The gateway's side.

    def told_origin(self) -> bytes:
        """Scheme and host as the caller knows them."""
        assert self.head
        caller = self.peer.caller(self.head.host, self.head.told)
        return caller.scheme.encode() + b"://" + caller.host

    def check(self, now: float) -> None:
        if self._is_held and self._has_left():
            self.transport.abort()
        elif self._body is not None and not self._is_held and now - self._body_at > self.state.limits.body_time:
            self._fail(TooSlow(f"Nothing more of the request's body came within {self.state.limits.body_time:g} s."))
        elif self.exchange:
            self.exchange.check(now)

    def rest(self) -> None:
        """Its next request will be long in coming: of the last one nothing is kept, as thousands may rest."""
        self._forget_head()
        self.state.idle.begin(self, self.state.now)

    def expire(self) -> None:
        """It has had its time."""
        self.transport.close()
        self._await_end()

    def give_up_head(self) -> None:
        self._fail(TooSlow(f"The request's head was not complete within {self.state.limits.head_time:g} s."))

    def shutdown(self) -> None:
        """No further request; one under way is finished."""
        self.keeps_alive = False
        if self.exchange is None:
            self.transport.close()

    def stop(self) -> None:
        """What is under way ends here."""
        if self.exchange:
            self._fail(Stopping("The engine stops."))
        else:
            self.transport.close()

    # The steps.

    def _take_head(self, data: bytes) -> None:
        if self._ahead:
            data, self._ahead = self._ahead + data, b""
        if not self._scanned and data.startswith(b"\r\n"):
            data = _EMPTY_LINES.sub(b"", data, count=1)  # RFC 9112, 2.2: those before a request are passed over
        end = data.find(_END_OF_HEAD, self._scanned)
        if end < 0 or end > LIMIT:
            self._await_head(data)
            return
        self._scanned = 0
        self._awake()
        self.state.heads.end(self)
        try:
            self._prepare(self._read_head(data[:end]), data[end + len(_END_OF_HEAD) :])
        except FreeholdError as error:
            self._fail(error)

    def _read_head(self, data: bytes) -> Head:
        """Programs commonly ask the same again and again: then it has been read already."""
        if self.head is None or data != self._head_data:
            self.head, self._head_data = None, data
            self.head = Head(data)
        return self.head

    def _awake(self) -> None:
        self.state.pausing.end(self)
        self.state.idle.end(self)

    def _forget_head(self) -> None:
        self.head, self._head_data = None, b""

    def _await_head(self, data: bytes) -> None:
        if not data:
            return
        self._forget_head()  # how the one before was answered means nothing here
        if not self._scanned:
            self._awake()
            self.state.heads.begin(self, self.state.now)
        if fault := fault_so_far(data, self._scanned):
            self._fail(Malformed(fault))
        elif len(data) > LIMIT:
            self._fail(ManyFields(f"The address and fields of a request may have {LIMIT // 1024} KiB."))
        else:
            self._ahead, self._scanned = data, max(0, len(data) - len(_END_OF_HEAD) + 1)

    def _prepare(self, head: Head, rest: bytes) -> None:
        self.keeps_alive = head.keeps_alive and not self.state.is_closing
        content = b""
        self._body = self._body_of(head)
        if self._body is not None and rest:
            content, rest = self._feed(self._body, rest)
        self._ahead = rest
        self._begin(head, content)

    def _begin(self, head: Head, content: bytes) -> None:
        self._body_at = math.inf if head.expects and not content else self.state.now  # its time begins when it may be sent
        self._discarded = 0
        self.state.busy.add(self)
        try:
            self._begin_request(self, head, content, self._body is None)
        except Exception as error:  # noqa: BLE001 — the edge: whatever happened, the caller gets an answer
            self.refuse(error)

    def _body_of(self, head: Head) -> Body | None:
        limit = self.state.limits.max_body
        if head.length is None:
            return ChunkedBody(limit)
        if limit and head.length > limit:
            raise BodyTooLarge(too_large(limit))
        return SizedBody(head.length) if head.length else None

    def _feed(self, body: Body, data: bytes) -> tuple[bytes, bytes]:
        content, rest = body.feed(data)
        if body.is_complete:
            self._body = None
        return content, rest

    def _take_body(self, body: Body, data: bytes) -> None:
        try:
            content, rest = self._feed(body, data)
        except FreeholdError as error:
            if self.exchange:
                self._fail(error)
            else:
                self._end()  # the request has its answer
            return
        self._body_at = self.state.now
        if rest:
            self._take_ahead(rest)
        if self.exchange:
            self.exchange.receive(content, is_complete=self._body is None)
        else:
            self._discard(len(content))

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._body is None:
            self.state.discarding.end(self)
            self._go_on()
        elif self._discarded > _MAX_DISCARDED:
            self._end()

    def _take_ahead(self, data: bytes) -> None:
        self._ahead += data
        if len(self._ahead) > _MAX_AHEAD:
            self.hold()

    def _go_on(self) -> None:
        self.let_go()
        self.state.pausing.begin(self, self.state.now)
        if self._ahead:
            self.state.loop.call_soon(self._take_next)

    def _take_next(self) -> None:
        is_free = self.exchange is None and self._body is None and not self.is_slow
        if self._ahead and is_free and not self.transport.is_closing():
            self._take_head(b"")

    def _fail(self, error: Exception) -> None:
        """What follows on this connection could mean anything."""
        exchange, self.exchange = self.exchange, None
        if exchange:
            exchange.abandon()
        self.keeps_alive = False
        self._body = self._body or SizedBody(1)
        self.refuse(error)

    def _end(self) -> None:
        """A caller who still sends would lose the answer if the connection were closed at once."""
        if self.transport.is_closing():
            return
        if self._body is None:
            self.expire()
            return
        self._is_lingering = True
        self.let_go()
        if self.transport.can_write_eof():  # over TLS there is none
            with suppress(OSError):  # it has left
                self.transport.write_eof()
        self.state.lingering.begin(self, self.state.now)

    def _has_left(self) -> bool:
        """While nothing is read, its leaving is not read either; the kernel knows."""
        try:
            info = self.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        except OSError:  # it is closed already
            return True
        return info[0] in _ENDED

    def _await_end(self) -> None:
        """Who does not read what is still to be sent does not keep the connection for ever."""
        if not self._is_closed and self in self.state.connections:
            self.state.discarding.begin(self, self.state.now)


def _log_cut(head: Head | None, error: Exception) -> None:
    what = None if isinstance(error, FreeholdError) else error
    _log.info("response_cut", path=head.target.decode("latin-1") if head else "", exc_info=what, reason=str(error))


def _peer(transport: asyncio.Transport) -> Peer:
    name = transport.get_extra_info("peername")
    address = (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
    is_local = address is not None and ipaddress.ip_address(address[0].partition("%")[0]).is_loopback
    scheme = "https" if transport.get_extra_info("sslcontext") else "http"
    server = transport.get_extra_info("sockname")
    return Peer(address, scheme, is_local=is_local, server=_our_end(server[0], server[1]) if isinstance(server, tuple) else None)


@lru_cache(maxsize=64)
def _our_end(host: str, port: int) -> tuple[str, int]:
    """The same for all connections to it."""
    return host, port
