"""Which calls memory holds: those under way, those done whose reader may still come, and answers that were given a moment ago."""

from collections import OrderedDict
from collections.abc import Callable, Iterable

from modal_proto import api_pb2

from freehold.control.services.call_history import CallHistory
from freehold.control.services.live import LiveCall
from freehold.domain.calls import CallKind
from freehold.domain.clock import Clock
from freehold.domain.ids import CallId

_FORGET_AFTER = 600.0  # seconds that a finished call of a silent caller stays
_ON_DISK = 1000  # finished asynchronous calls with one input that stay beside what is on disk of them
_ANSWERS = 1000  # finished calls whose last answer is kept a while longer, for a reader that did not receive it
_ANSWER_BYTES = 32 * 1024 * 1024
_GENERIC = api_pb2.GenericResult


class CallBook:
    """`forgotten` is called with a call that memory lets go."""

    def __init__(self, *, clock: Clock, forgotten: Callable[[LiveCall], None]) -> None:
        self._clock = clock
        self._forgotten = forgotten
        self._calls: dict[CallId, LiveCall] = {}
        self._finished: OrderedDict[CallId, float] = OrderedDict()  # those with nothing open; when to look whether to forget them
        self._on_disk: OrderedDict[CallId, LiveCall] = OrderedDict()  # of these, those that can go: their results are read from there
        self._answered: OrderedDict[CallId, tuple[LiveCall, int]] = OrderedDict()  # with its size in bytes
        self._answer_bytes = 0
        self.history = CallHistory()

    def add(self, call: LiveCall) -> LiveCall:
        """The call, or the one that is here already under its id. Inputs may come or not: without any it is not kept for ever."""
        call.last_seen = self._clock.monotonic()
        kept = self._calls.setdefault(call.id, call)
        if not kept.unfinished:
            self._finished.setdefault(call.id, self._clock.monotonic() + _FORGET_AFTER)
        return kept

    def find(self, call_id: CallId) -> LiveCall | None:
        return self._calls.get(call_id)

    def find_answered(self, call_id: CallId) -> LiveCall | None:
        """Also one that was read and forgotten a moment ago."""
        answered, _ = self._answered.get(call_id, (None, 0))
        return self._calls.get(call_id) or answered

    def all(self) -> Iterable[LiveCall]:
        return self._calls.values()

    def note_done(self, call: LiveCall) -> None:
        """Its last open input has got its result."""
        if self._calls.get(call.id) is not call:
            self._forgotten(call)
            return
        self._finished[call.id] = self._clock.monotonic() + _FORGET_AFTER
        if call.is_unwatched:
            self.forget(call)
        elif _is_on_disk(call):
            self._on_disk[call.id] = call
            self._let_oldest_go()

    def _let_oldest_go(self) -> None:
        if len(self._on_disk) > _ON_DISK:
            _, oldest = self._on_disk.popitem(last=False)
            if not oldest.unfinished:
                self.forget(oldest)

    def note_open(self, call: LiveCall) -> None:
        """It has got another input, or one that is tried again."""
        if call.unfinished:
            self._finished.pop(call.id, None)

    def note_answered(self, call: LiveCall) -> None:
        """Its reader was given all there is. An answer may be lost on its way: who asks again is given it again, for a while."""
        if call.unfinished or _is_still_read(call):
            return
        self._drop_answer(call.id)
        self._answered[call.id] = call, (size := _size(call))
        self._answer_bytes += size
        while len(self._answered) > _ANSWERS or self._answer_bytes > _ANSWER_BYTES:
            self._drop_answer(next(iter(self._answered)))
        self.forget(call)

    def _drop_answer(self, call_id: CallId) -> None:
        _, size = self._answered.pop(call_id, (None, 0))
        self._answer_bytes -= size

    def forget(self, call: LiveCall) -> None:
        if self._calls.get(call.id, call) is not call:
            return  # one as it was read from disk, and there is a newer one
        if self._calls.pop(call.id, None) is not None and not call.is_durable:
            self.history.add(call)
        self._finished.pop(call.id, None)
        self._on_disk.pop(call.id, None)
        self._forgotten(call)

    def make_room(self, inputs: int) -> None:
        """Let go of so many inputs of finished asynchronous calls, the oldest first: their results are on disk."""
        for call in [call for call_id in self._finished if (call := self._calls[call_id]).is_durable]:
            if inputs <= 0:
                return
            inputs -= len(call.inputs)
            self.forget(call)

    def forget_silent(self) -> None:
        """Drop finished calls whose caller has not asked for a while; results of asynchronous ones stay on disk."""
        now = self._clock.monotonic()
        while self._finished and next(iter(self._finished.values())) <= now:
            call_id, _ = self._finished.popitem(last=False)
            if self._calls[call_id].last_seen > now - _FORGET_AFTER:
                self._finished[call_id] = now + _FORGET_AFTER
            else:
                self.forget(self._calls[call_id])


def _is_on_disk(call: LiveCall) -> bool:
    """Whole: not what a generator has yielded, nor the order of a map's results, along which its reader moves."""
    return call.is_durable and call.record.kind is CallKind.UNARY and not call.has_streamed


def _size(call: LiveCall) -> int:
    """Its answers, and the arguments that stay in memory with them."""
    return sum(item.ByteSize() for item in call.latest.values()) + sum(len(live.payload.args) for live in call.inputs.values())


def _is_still_read(call: LiveCall) -> bool:
    """Its reader may come back: to try again, or for the rest of what a generator yielded."""
    return call.has_streamed or any(_may_be_retried(call, item.result.status) for item in call.latest.values())


def _may_be_retried(call: LiveCall, status: int) -> bool:
    if status in (_GENERIC.GENERIC_STATUS_SUCCESS, _GENERIC.GENERIC_STATUS_TERMINATED):
        return False
    return bool(call.retry_policy.retries) or status == _GENERIC.GENERIC_STATUS_TIMEOUT
