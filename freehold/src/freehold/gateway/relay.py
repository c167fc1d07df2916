"""The fast path: one request to a container that serves HTTP itself, and the response back, without being taken apart."""

import errno
import time
from collections.abc import Callable
from typing import Any

import anyio

from freehold.domain.errors import DeadlineExceeded, Unavailable
from freehold.domain.functions import WebKind, WebRoute, WebTarget
from freehold.domain.ids import CallId, new_request_ids
from freehold.gateway.asgi import scope_of
from freehold.gateway.connections import Connection
from freehold.gateway.errors import NoRoomInTime, answer_of
from freehold.gateway.exchanges import Exchange
from freehold.gateway.heads import Head
from freehold.gateway.routing import Address, target_for, told_to_container
from freehold.gateway.state import ServerState
from freehold.gateway.upstreams import Response, Upstream

_MAX_HELD = 64 * 1024  # bytes of a body that wait for a container, and that could be sent again
_MAX_TRIES = 3  # lanes that refuse
_OUR_OWN = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN})  # of descriptors, or of room in a queue that moves
_CONTINUE = 100
_SWITCHING_PROTOCOLS = 101
_OK = 200


class Relay(Exchange):
    """Books a lane, sends the request there and the response back; the booking ends exactly once, whatever happens."""

    __slots__ = (
        "_address",
        "_answered_at",
        "_began_at",
        "_begin_stock",
        "_booked_at",
        "_deadline",
        "_held",
        "_held_size",
        "_input_id",
        "_is_over",
        "_is_raw",
        "_lane",
        "_outcome",
        "_peer",
        "_repeatable",
        "_route",
        "_status",
        "_task_id",
        "_tries",
        "_upstream",
        "_waiting",
    )

    kind = "direct"

    def __init__(
        self,
        state: ServerState,
        connection: Connection,
        head: Head,
        address: Address,
        route: WebRoute,
        *,
        begin_stock: Callable[["Relay", bytes], None],
    ) -> None:
        """`begin_stock` takes over, with what of the body is there, where containers take requests as messages."""
        super().__init__(state, connection, head)
        self._begin_stock = begin_stock
        self.owner = route.target
        self._address = address
        self._route = route
        self._input_id, self.call_id = new_request_ids()
        self._peer = connection.peer
        self._lane: Any = None
        self._upstream: Upstream[Any] | None = None
        self._waiting: anyio.CancelScope | None = None
        self._deadline = 0.0
        self._held: list[bytes] = []
        self._held_size = 0
        self._repeatable: bytes | None = None  # the whole request, while it can be sent again
        self._is_over = self._is_raw = False
        self._tries = 0
        self._began_at = time.time()
        self._booked_at = self._answered_at = 0.0
        self._status = self._outcome = 0
        self._task_id = ""

    # The caller's side.

    def start(self, content: bytes, is_complete: bool) -> None:
        self._hold(content, is_complete)
        self._find_lane()

    def receive(self, content: bytes, is_complete: bool) -> None:
        upstream = self._upstream
        if self._is_raw:
            if upstream:
                upstream.write(content)
        elif self.is_complete:
            pass  # who came back for the response sends a body with that: it is no part of the request
        elif upstream is None:
            self._hold(content, is_complete)
        else:
            self.is_complete = is_complete
            self._repeatable = None
            upstream.write(self._framed(content))

    def abandon(self) -> None:
        self._leave()

    def scope(self) -> dict[str, Any]:
        """The request as ASGI has it."""
        scope = scope_of(self.head, self._peer)
        if not self.head.told.get(b"x-request-id"):
            scope["headers"] = [*scope["headers"], (b"x-request-id", self.request_id)]
        return scope

    def caller_is_slow(self) -> None:
        if self._upstream:
            self._upstream.hold()

    def caller_is_ready(self) -> None:
        if self._upstream:
            self._upstream.let_go()

    def check(self, now: float) -> None:
        if self._deadline and now > self._deadline:
            if not self.caller.is_awaited:
                self.state.lanes.timed_out(self._lane)
            self._fail(DeadlineExceeded(f"The function's timeout of {self._route.timeout:g} s has passed."))
        elif not self._is_raw:
            super().check(now)

    # The container's side.

    def respond(self, response: Response) -> None:
        status = response.status
        if status >= _OK:
            self._repeatable = None
            self._status = self._outcome = status
            self._answered_at = time.time()
            self.caller.begin(status, response.joined() + self._response_lines(response), response.length)
        elif status == _SWITCHING_PROTOCOLS:
            self._switch(response)
        elif status != _CONTINUE or self.head.expects:
            self.caller.inform(status, response.joined())

    def respond_body(self, data: bytes) -> None:
        self.caller.send(data)

    def respond_raw(self, data: bytes) -> None:
        self.caller.send(data)
        self.caller.flush()

    def respond_end(self, *, is_reusable: bool) -> None:
        caller, upstream, is_raw = self.caller, self._upstream, self._is_raw
        if upstream and is_reusable and self.is_complete:
            self.state.upstreams.keep(upstream, self.state.now)
            self._upstream = None
        self._leave()
        if is_raw:
            caller.cut()
        else:
            caller.finish()

    def flush(self) -> None:
        self.caller.flush()

    def upstream_lost(self, *, is_before_anything: bool) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream and upstream.is_used and is_before_anything and self._repeatable is not None and self.head.is_idempotent:
            self.state.spawn(self._connect)
        else:
            self._fail(
                Unavailable("The container closed the connection before its response was complete; `modal app logs <app>` shows its log.")
            )

    def upstream_is_slow(self) -> None:
        self.caller.hold()

    def upstream_is_ready(self) -> None:
        self.caller.let_go()

    # The steps.

    def _find_lane(self) -> None:
        lane = self.state.lanes.take(self._route.target, self._session())
        if lane is None:
            self.state.waiting += 1
            self.state.spawn(self._wait)
        else:
            self._book(lane)

    async def _wait(self) -> None:
        try:
            with anyio.CancelScope() as self._waiting:
                if not self._is_over:
                    await self._wait_for_lane()
        finally:
            self.state.waiting -= 1
            self._waiting = None

    async def _wait_for_lane(self) -> None:
        patience = self.state.limits.container_wait
        try:
            lane = await self.state.lanes.wait(self._route.target, patience, self._session())
        except DeadlineExceeded as error:
            self._fail(NoRoomInTime(*error.args))
        except Exception as error:  # noqa: BLE001 — the edge: whatever happened, the caller gets an answer
            self._fail(error)
        else:
            self._arrive(lane)

    def _arrive(self, lane: Any) -> None:
        if self._is_over:
            if lane is not None:
                self.state.lanes.release(lane)
        elif lane is not None:
            self._book(lane)
        else:
            self._is_over = True
            self._begin_stock(self, b"".join(self._held))

    def _book(self, lane: Any) -> None:
        self._lane, self._task_id, self._booked_at = lane, lane.id, time.time()
        self._deadline = self.state.now + self._route.timeout
        upstream = self.state.upstreams.find(lane)
        if upstream is None:
            self.state.spawn(self._connect)
        else:
            self._send(upstream)

    async def _connect(self) -> None:
        lane = self._lane
        if self._is_over:
            return
        try:
            upstream = await self.state.upstreams.connect(lane)
        except OSError as error:
            self._refused(lane, error)
        else:
            if self._is_over:
                upstream.abort()
            else:
                self._send(upstream)

    def _refused(self, lane: Any, error: OSError) -> None:
        """Nothing of the request is lost yet: another container may take it."""
        if self._is_over:
            return
        if error.errno not in _OUR_OWN:
            self.state.lanes.lost(lane)
        self._release()
        self._tries += 1
        if self._tries < _MAX_TRIES:
            self._find_lane()
        else:
            self._fail(Unavailable("No container of the function takes connections; `modal app logs <app>` shows their log."))

    def _send(self, upstream: Upstream[Any]) -> None:
        self._upstream = upstream
        data = self._repeatable
        if data is None:
            data = self._request_head() + self._framed(b"".join(self._held))
            self._repeatable = data if self.is_complete and len(data) < _MAX_HELD else None
            self._held.clear()
            self._held_size = 0
        upstream.send(self, data, is_head=self.head.method == b"HEAD")
        if not self.is_complete or self.head.upgrade:
            self.caller.let_go()

    def _request_head(self) -> bytes:
        head, target = self.head, self._route.target
        if head.relayed is None or head.relayed[0] is not target:
            head.relayed = (target, self._lines_for(target))
        ids = b"" if target.kind is WebKind.SERVER else b"\r\nx-freehold-ids: %s,%s" % (self._input_id.encode(), self.call_id.encode())
        if context := self.state.traces.context(CallId(self.call_id), self._input_id, self._traceparent):
            ids += b"\r\ntraceparent: " + context
        return b"%s%s\r\nx-request-id: %s\r\n\r\n" % (head.relayed[1], ids, self.request_id)

    def _lines_for(self, target: WebTarget) -> bytes:
        """What is the same for each request with this head on this connection."""
        head = self.head
        return b"%s %s HTTP/1.1\r\nhost: %s%s%s%s" % (
            head.method,
            target_for(target, self._address, head),
            head.host,
            head.lines,
            _framing(head),
            told_to_container(self._peer.caller(head.host, head.told), self._address, target),
        )

    def _framed(self, content: bytes) -> bytes:
        if self.head.length is not None:
            return content
        framed = b"%x\r\n%s\r\n" % (len(content), content) if content else b""
        return framed + b"0\r\n\r\n" if self.is_complete else framed

    def _hold(self, content: bytes, is_complete: bool) -> None:
        self.is_complete = is_complete
        if content:
            self._held.append(content)
            self._held_size += len(content)
            if self._held_size > _MAX_HELD and not is_complete:
                self.caller.hold()

    def _session(self) -> str:
        return self.head.told.get(b"modal-session-id", b"").decode("latin-1") if self._route.has_sessions else ""

    @property
    def _traceparent(self) -> bytes:
        return self.head.told.get(b"traceparent", b"")

    @property
    def request_id(self) -> bytes:
        return self.head.told.get(b"x-request-id") or self._input_id.encode()

    def _response_lines(self, response: Response) -> bytes:
        lines = b"\r\nmodal-function-call-id: " + self.call_id.encode()
        if b"x-request-id" not in response.told:
            lines += b"\r\nx-request-id: " + self.request_id
        return lines if b"date" in response.told else lines + self.state.date_line

    def _switch(self, response: Response) -> None:
        if not self.head.upgrade:
            self._fail(Unavailable("The container changes the protocol without being asked."))
            return
        self._is_raw = True
        self._outcome = _SWITCHING_PROTOCOLS
        self._measure(time.time())
        lines = response.joined() + b"\r\nconnection: Upgrade\r\nupgrade: " + response.upgrade
        self.caller.switch(lines + self._response_lines(response))

    def _fail(self, error: Exception) -> None:
        if self._is_over:
            return
        self._outcome = answer_of(error).status
        self._leave()
        self.caller.refuse(error)

    def _leave(self) -> None:
        """Nothing of it goes on."""
        if not self._is_over:
            now = time.time()
            self._note(now)
            if not self._is_raw:
                self._measure(now)
        self._is_over = True
        self._deadline = 0.0
        if self._waiting:
            self._waiting.cancel()
        upstream, self._upstream = self._upstream, None
        if upstream:
            upstream.abort()
        self._release()

    def _measure(self, now: float) -> None:
        """Of what changed the protocol, up to that change: how long such a connection lasts says nothing."""
        if self.state.measured is not None:
            task_id, took = (self._lane.id, now - self._booked_at) if self._lane is not None else ("", 0.0)
            self.state.measured(self._route.target, self.head.target, task_id, self._outcome, latency=now - self._began_at, execution=took)

    def _note(self, now: float) -> None:
        seen = (
            self._route.target.function_id,
            self.head.method.decode("ascii"),
            self._status,
            self._began_at,
            self._booked_at,
            self._answered_at,
            now,
            self._task_id,
            self._traceparent,
        )
        self.state.traces.note(CallId(self.call_id), seen)

    def _release(self) -> None:
        lane, self._lane = self._lane, None
        self._deadline = 0.0
        if lane is not None:
            self.state.lanes.release(lane)


def _framing(head: Head) -> bytes:
    lines = b""
    if head.length is None:
        lines = b"\r\ntransfer-encoding: chunked"
    elif head.length or b"content-length" in head.told:
        lines = b"\r\ncontent-length: %d" % head.length
    if head.expects:
        lines += b"\r\nexpect: 100-continue"
    if head.upgrade:
        lines += b"\r\nconnection: Upgrade\r\nupgrade: " + head.upgrade
    return lines
