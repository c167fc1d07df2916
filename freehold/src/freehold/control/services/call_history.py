"""Synchronous calls of the recent past: they leave no trace on disk, and people ask about them still."""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from modal_proto import api_pb2

from freehold.control.services.live import LiveCall, LiveInput
from freehold.domain.calls import Attempt, FunctionCall, Tally
from freehold.domain.ids import CallId, InputId

_CALLS = 5_000
_INPUTS = 10_000  # of all of them together; each takes some 1 KB
_SMALL = 2048  # bytes of arguments, and of a result, that are kept with them
_LONGEST = 20_000  # characters of a traceback


@dataclass(frozen=True, slots=True, kw_only=True)
class PastInput:
    """`status` is a `GenericStatus`; 0 while there is no result. `tries` are oldest first, as far as they are known. `ran` is from when to
    when its code ran, in seconds since 1970 by the clock of its container; of asynchronous ones, the result on disk has that.
    """

    id: InputId
    idx: int
    status: int
    method_name: str
    tries: tuple[Attempt, ...]
    finished_at: datetime | None = None
    ran: tuple[float, float] | None = None
    # Serialized: a message keeps all that it came with, and a kilobyte.
    payload: bytes | None = None  # `FunctionInput`: what it was called with, while that is known
    output: bytes | None = None  # `FunctionGetOutputsItem`: what came of it

    @property
    def is_running(self) -> bool:
        return not self.status and bool(self.tries) and self.tries[-1].ended_at is None

    @property
    def task_id(self) -> str:
        return self.tries[-1].task_id if self.tries else ""

    @property
    def started_at(self) -> datetime | None:
        return self.tries[-1].started_at if self.tries else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCall:
    """`inputs` are all of them; of a call with very many the first ones, then some that failed or have no result: `counted` has the others."""

    record: FunctionCall
    inputs: tuple[PastInput, ...]
    counted: Tally | None = None
    has_running: bool = False  # one that is not among its `inputs`

    @property
    def tally(self) -> Tally:
        if self.counted is not None:
            return self.counted
        ends = [item.finished_at for item in self.inputs if item.finished_at is not None]
        by_status = Counter(item.status for item in self.inputs if item.status)
        return Tally(by_status=by_status, unfinished=len(self.inputs) - by_status.total(), ended_at=max(ends, default=None))

    @property
    def is_running(self) -> bool:
        return self.has_running or any(item.is_running for item in self.inputs)


class CallHistory:
    """Bounded: the oldest call goes first."""

    def __init__(self) -> None:
        self._calls: OrderedDict[CallId, PastCall] = OrderedDict()
        self._inputs = 0

    def add(self, call: LiveCall) -> None:
        past = past_of(call)
        self._inputs += len(past.inputs) - len(self._calls[call.id].inputs if call.id in self._calls else ())
        self._calls[call.id] = past
        while len(self._calls) > _CALLS or self._inputs > _INPUTS:
            self._inputs -= len(self._calls.popitem(last=False)[1].inputs)

    def find(self, call_id: CallId) -> PastCall | None:
        return self._calls.get(call_id)

    def newest_first(self) -> Iterable[PastCall]:
        return reversed(self._calls.values())


def past_of(call: LiveCall) -> PastCall:
    return PastCall(record=call.record, inputs=tuple(_past_input(call, live) for live in call.inputs.values()))


def glimpse_of(call: LiveCall, most: int) -> PastCall:
    """No more than the first so many inputs, and as many others that failed or have no result."""
    if len(call.inputs) <= most:
        return past_of(call)
    rest = (live for live in islice(call.inputs.values(), most, None) if _is_worth_a_look(call, live))
    chosen = [*islice(call.inputs.values(), most), *islice(rest, most)]
    by_status = Counter(int(item.result.status) for item in call.latest.values())
    return PastCall(
        record=call.record,
        inputs=tuple(_past_input(call, live) for live in chosen),
        counted=Tally(by_status=by_status, unfinished=len(call.inputs) - by_status.total()),
        has_running=is_running(call),
    )


def is_running(call: LiveCall) -> bool:
    return any(live.is_running for live in call.inputs.values())


def _is_worth_a_look(call: LiveCall, live: LiveInput) -> bool:
    item = call.latest.get(live.idx)
    return item is None or item.result.status != api_pb2.GenericResult.GENERIC_STATUS_SUCCESS


def _past_input(call: LiveCall, live: LiveInput) -> PastInput:
    item = call.latest.get(live.idx)
    return PastInput(
        id=live.id,
        idx=live.idx,
        status=item.result.status if item else 0,
        method_name=live.payload.method_name,
        tries=live.tries,
        finished_at=live.tries[-1].ended_at if item and live.tries else None,
        ran=ran_in(item) if item else None,
        payload=live.payload.SerializeToString() if len(live.payload.args) <= _SMALL else None,
        output=_small(item) if item else None,
    )


def ran_in(item: api_pb2.FunctionGetOutputsItem) -> tuple[float, float] | None:
    return (item.input_started_at, item.output_created_at) if item.input_started_at and item.output_created_at else None


def _small(item: api_pb2.FunctionGetOutputsItem) -> bytes | None:
    """Without the serialized exception, which is for Python; nothing of what is too large to be kept a thousand times."""
    if item.result.status == api_pb2.GenericResult.GENERIC_STATUS_SUCCESS:
        return item.SerializeToString() if len(item.result.data) <= _SMALL else None
    told = api_pb2.FunctionGetOutputsItem(idx=item.idx, input_id=item.input_id)
    told.result.status = item.result.status
    told.result.exception = item.result.exception[:_LONGEST]
    told.result.traceback = item.result.traceback[-_LONGEST:]
    return told.SerializeToString()
