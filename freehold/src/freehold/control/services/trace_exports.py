"""Traces on their way to a receiver: calls and web requests that have ended, some time later and in groups. Nothing waits for it."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import anyio
import anyio.to_thread
import structlog

from freehold.control.services.call_history import PastCall, past_of
from freehold.control.services.live import LiveCall
from freehold.control.services.traces import Seen, Traces
from freehold.domain.ids import CallId
from freehold.domain.traces import Trace

log = structlog.get_logger()

_MOST = 2_000  # calls and requests that wait; more are dropped, and counted
_AT_ONCE = 200
_REST = 0.5  # seconds between groups: what is being done again and again, as a map whose inputs trickle in, is told once
_DEADLINE = 30.0  # seconds that a receiver may take
_FAREWELL = 5.0  # seconds that the engine's end waits for it


class Sender(Protocol):
    def send(self, traces: Sequence[Trace]) -> bool:
        """Whether the receiver took them. It blocks."""
        ...


class TraceExports:
    """What it was told in `call_ended` and `request_ended` is sent by `run`. `dropped` counts what was not sent, for whatever reason."""

    def __init__(self, *, traces: Traces, sender: Sender) -> None:
        self._traces = traces
        self._sender = sender
        self._waiting: OrderedDict[CallId, PastCall | Seen] = OrderedDict()
        self._changed = anyio.Event()
        self._is_well = True
        self.sent = 0
        self.dropped = 0

    def call_ended(self, call: LiveCall) -> None:
        if self._has_room(call.id):
            self._waiting[call.id] = past_of(call)

    def request_ended(self, call_id: CallId, seen: Seen) -> None:
        if self._has_room(call_id):
            self._waiting[call_id] = seen

    def summary(self) -> str:
        """For `freehold status`."""
        return f"{self.sent} sent, {self.dropped} dropped, {len(self._waiting)} waiting"

    async def run(self) -> None:
        """Until cancelled; then what is left has some seconds."""
        try:
            while True:
                await self._changed.wait()
                await anyio.sleep(_REST)
                await self._send_some()
        finally:
            with anyio.move_on_after(_FAREWELL, shield=True):
                while self._waiting and self._is_well:
                    await self._send_some()

    def _has_room(self, call_id: CallId) -> bool:
        if call_id not in self._waiting and len(self._waiting) >= _MOST:
            self.dropped += 1
            return False
        self._changed.set()
        return True

    async def _send_some(self) -> None:
        ended = [self._waiting.popitem(last=False) for _ in range(min(_AT_ONCE, len(self._waiting)))]
        if not self._waiting:
            self._changed = anyio.Event()
        traces = [trace for call_id, what in ended if (trace := await self._trace(call_id, what)) is not None]
        if not traces:
            return
        is_well = await self._send(traces)
        self.sent += len(traces) if is_well else 0
        self.dropped += 0 if is_well else len(traces)
        if is_well is not self._is_well:
            self._is_well = is_well
            log.info("traces_sent_again") if is_well else log.warning("traces_not_sent", reason="The receiver does not take them.")

    async def _trace(self, call_id: CallId, what: PastCall | Seen) -> Trace | None:
        """None if its caller has decided that it is not to be sent."""
        try:
            return await (self._traces.of_call(what) if isinstance(what, PastCall) else self._traces.of_request(call_id, what))
        except Exception:  # one that cannot be told must not hold up the others
            log.exception("trace_not_made", call_id=call_id)
            self.dropped += 1
            return None

    async def _send(self, traces: Sequence[Trace]) -> bool:
        try:
            with anyio.fail_after(_DEADLINE):
                return await anyio.to_thread.run_sync(self._sender.send, traces, abandon_on_cancel=True)
        except Exception as error:  # noqa: BLE001 — of a library: whatever it is, the engine goes on
            log.debug("receiver_failed", reason=str(error))
            return False
