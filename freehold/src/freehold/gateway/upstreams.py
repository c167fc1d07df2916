"""Connections to containers: HTTP/1.1 over their sockets, kept for the next request."""

import asyncio
from typing import Generic, Protocol, cast

import anyio
import httptools

from freehold.gateway.ports import LaneT

_CONNECT_SECONDS = 5.0
# A server of the user's own closes idle connections when it likes, commonly after 5 s; containers of ours do not.
_KEPT_SECONDS = 60.0
_KEPT_SECONDS_OF_OTHERS = 1.5
_MAX_HEAD = 256 * 1024  # bytes of a response's fields

# What describes one connection, what is framed anew, and what the gateway says itself.
_TAKEN = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
    | {b"content-length", b"modal-function-call-id"}
)
_MIGHT_BE_TOLD = frozenset({b"date", b"x-request-id"})
_OK = 200


class Listener(Protocol):
    """Who sent a request, and hears the response."""

    def respond(self, response: "Response") -> None: ...

    def respond_body(self, data: bytes) -> None: ...

    def respond_end(self, *, is_reusable: bool) -> None: ...

    def respond_raw(self, data: bytes) -> None:
        """After an upgrade."""
        ...

    def flush(self) -> None: ...

    def upstream_lost(self, *, is_before_anything: bool) -> None: ...

    def upstream_is_slow(self) -> None: ...

    def upstream_is_ready(self) -> None: ...


class Response:
    """The head of a response. `lines` are those that its caller gets as they came."""

    __slots__ = ("connection", "is_chunked", "length", "lines", "status", "told", "upgrade")

    def __init__(self) -> None:
        self.status = 0
        self.lines: list[bytes] = []
        self.length: bytes | None = None
        self.is_chunked = False
        self.connection = self.upgrade = b""
        self.told: set[bytes] = set()

    def add(self, name: bytes, value: bytes) -> None:
        known = name.lower()
        if known == b"content-length":
            self.length = value
        elif known == b"transfer-encoding":
            self.is_chunked = True
        elif known == b"connection":
            self.connection += b"," + value.lower()
        elif known == b"upgrade":
            self.upgrade = value
        elif known not in _TAKEN:
            self.lines.append(b"\r\n" + name + b": " + value)
            if known in _MIGHT_BE_TOLD:
                self.told.add(known)

    def joined(self) -> bytes:
        """The lines without those that `Connection` names."""
        named = {option.strip() for option in self.connection.split(b",")} - {b"", b"close", b"keep-alive", b"upgrade"}
        if named:
            return b"".join(line for line in self.lines if line[2:].partition(b":")[0].lower() not in named)
        return b"".join(self.lines)


class Upstream(asyncio.Protocol, Generic[LaneT]):
    """One connection to a container. `listener` is who waits for a response; None while it is kept."""

    def __init__(self, pool: "Upstreams[LaneT]", lane: LaneT) -> None:
        self._pool = pool
        self.lane = lane
        self.listener: Listener | None = None
        self.is_used = False  # it has carried a response already
        self.kept_at = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._is_bodiless = False  # the response to a HEAD
        self._is_in_body = self._is_raw = self._is_heard = self._is_held = False
        self._keeps_alive = False
        self._head_size = 0

    def send(self, listener: Listener, data: bytes, *, is_head: bool) -> None:
        """The beginning of a request."""
        self.listener = listener
        self._is_bodiless, self._is_heard = is_head, False
        self.transport.write(data)

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def hold(self) -> None:
        if not self._is_held and not self.transport.is_closing():
            self._is_held = True
            self.transport.pause_reading()

    def let_go(self) -> None:
        if self._is_held and not self.transport.is_closing():
            self._is_held = False
            self.transport.resume_reading()

    def abort(self) -> None:
        self.listener = None
        self.transport.abort()

    # The loop's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        listener = self.listener
        if listener is None:
            self.transport.abort()  # it speaks without being asked
            return
        self._is_heard = True
        if self._is_raw:
            listener.respond_raw(data)
            return
        self._parse(data)
        listener.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.drop(self)
        del self._parser  # it knows this protocol by each of its callbacks
        listener, self.listener = self.listener, None
        if listener is None:
            return
        if self._is_raw or (exc is None and self._ends_by_closing()):
            listener.respond_end(is_reusable=False)
        else:
            listener.upstream_lost(is_before_anything=not self._is_heard)

    def pause_writing(self) -> None:
        if self.listener:
            self.listener.upstream_is_slow()

    def resume_writing(self) -> None:
        if self.listener:
            self.listener.upstream_is_ready()

    # The parser's side.

    def on_message_begin(self) -> None:
        if self.listener is None:
            self.transport.abort()  # it answers what nobody asked
        self._response = Response()
        self._is_in_body = False
        self._head_size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_body or self._response is None:
            return  # a trailing field
        self._response.add(name, value)

    def on_headers_complete(self) -> None:
        response = self._response
        assert response
        response.status = self._parser.get_status_code()
        self._is_in_body = True
        self._keeps_alive = self._parser.should_keep_alive()
        if self.listener:
            self.listener.respond(response)
        if self._is_bodiless and response.status >= _OK:
            self._parser = httptools.HttpResponseParser(self)  # this one waits for a body
            self._end()

    def on_body(self, body: bytes) -> None:
        if self.listener:
            self.listener.respond_body(body)

    def on_message_complete(self) -> None:
        if self._response and self._response.status >= _OK:
            self._end()

    # The steps.

    def _parse(self, data: bytes) -> None:
        self._head_size += 0 if self._is_in_body else len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switch(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._break()
        else:
            if self._head_size > _MAX_HEAD and not self._is_in_body:
                self._break()

    def _break(self) -> None:
        """What comes is no HTTP."""
        listener, self.listener = self.listener, None
        self.transport.abort()
        if listener:
            listener.upstream_lost(is_before_anything=False)

    def _switch(self, rest: bytes) -> None:
        if self.listener is None:
            return
        self._is_raw = True
        if rest:
            self.listener.respond_raw(rest)

    def _ends_by_closing(self) -> bool:
        response = self._response
        return response is not None and self._is_in_body and response.status >= _OK and response.length is None and not response.is_chunked

    def _end(self) -> None:
        self._response, self._is_in_body = None, False
        listener, self.listener = self.listener, None
        self.is_used = True
        if listener:
            listener.respond_end(is_reusable=self._keeps_alive)


class Upstreams(Generic[LaneT]):
    """The connections that are kept, by lane."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._kept: dict[LaneT, list[Upstream[LaneT]]] = {}

    def find(self, lane: LaneT) -> Upstream[LaneT] | None:
        """One that is kept; the newest, which its container will keep longest."""
        kept = self._kept.get(lane)
        while kept:
            upstream = kept.pop()
            if not upstream.transport.is_closing():
                return upstream
        return None

    async def connect(self, lane: LaneT) -> Upstream[LaneT]:
        """Raises OSError."""
        upstream = Upstream(self, lane)
        address = lane.address
        with anyio.fail_after(_CONNECT_SECONDS):
            if isinstance(address, str):
                await self._loop.create_unix_connection(lambda: upstream, address)
            else:
                await self._loop.create_connection(lambda: upstream, *address)
        return upstream

    def keep(self, upstream: Upstream[LaneT], now: float) -> None:
        upstream.let_go()
        upstream.kept_at = now
        self._kept.setdefault(upstream.lane, []).append(upstream)

    def drop(self, upstream: Upstream[LaneT]) -> None:
        kept = self._kept.get(upstream.lane, [])
        if upstream in kept:
            kept.remove(upstream)
        if not kept:
            self._kept.pop(upstream.lane, None)

    def sweep(self, now: float) -> None:
        for lane, kept in list(self._kept.items()):
            limit = now - (_KEPT_SECONDS if isinstance(lane.address, str) else _KEPT_SECONDS_OF_OTHERS)
            for upstream in [one for one in kept if one.kept_at < limit]:
                upstream.abort()

    def close(self) -> None:
        for kept in list(self._kept.values()):
            for upstream in list(kept):
                upstream.abort()
