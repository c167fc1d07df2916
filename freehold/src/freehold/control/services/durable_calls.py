"""Asynchronous calls on disk: written before they are acknowledged, read when memory no longer has them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from modal_proto import api_pb2

from freehold.control.services.group_commit import GroupCommit
from freehold.control.services.journal import Journal
from freehold.control.services.live import InputState, LiveCall, LiveInput
from freehold.domain.calls import Attempt, CallKind, FunctionCall, StoredInput, StoredResult
from freehold.domain.clock import Clock
from freehold.domain.ids import CallId, InputId
from freehold.store.ports import Store, Transaction
from freehold.wire.functions import retry_policy_of

_MOST = 500  # results in one transaction: of a large map that is cancelled, too many would hold the store for a minute


@dataclass(slots=True, eq=False, kw_only=True)
class _Change:
    """What one caller wants to have on disk. `late` are those of its results for which there was another one already."""

    call: FunctionCall | None = None
    inputs: Sequence[StoredInput] = ()
    results: Sequence[StoredResult] = ()
    attempts: Mapping[InputId, int] = field(default_factory=dict)
    late: Collection[InputId] = ()


class DurableCalls:
    def __init__(self, *, store: Store, clock: Clock, journal: Journal) -> None:
        self._store = store
        self._clock = clock
        self._journal = journal
        self._group = GroupCommit(store=store, write=_write)

    async def put(self, record: FunctionCall, inputs: Sequence[LiveInput] = ()) -> None:
        """A call, and the inputs that came with it."""
        await self._group.put(_Change(call=record, inputs=self._stored(inputs)))

    async def put_in(self, tx: Transaction, record: FunctionCall, inputs: Sequence[LiveInput] = ()) -> None:
        """The same within a transaction of the caller's."""
        await _write(tx, [_Change(call=record, inputs=self._stored(inputs))])

    async def add_inputs(self, inputs: Sequence[LiveInput]) -> None:
        await self._group.put(_Change(inputs=self._stored(inputs)))

    async def record_results(self, results: Sequence[tuple[LiveInput, api_pb2.FunctionGetOutputsItem]]) -> None:
        """A result that is on disk already stays: then the given one becomes that. Where it raises, some may be on disk."""
        for first in range(0, len(results), _MOST):
            await self._record_some(results[first : first + _MOST])

    async def _record_some(self, results: Sequence[tuple[LiveInput, api_pb2.FunctionGetOutputsItem]]) -> None:
        """All or none."""
        now = self._clock.now()
        change = _Change(
            results=[
                StoredResult(input_id=live.id, result=item.SerializeToString(), status=item.result.status, finished_at=now)
                for live, item in results
            ]
        )
        await self._group.insist(change)
        for live, item in results:
            if live.id in change.late:
                await self._take_over(live, item)

    async def record_retry(self, input_id: InputId, attempt: int) -> None:
        await self._group.insist(_Change(attempts={input_id: attempt}))

    def note(self, attempt: Attempt) -> None:
        """What becomes of an input on its way is history: it is written shortly, and nobody waits for it."""
        self._journal.attempt(attempt)

    async def recall(self, call_id: CallId) -> LiveCall | None:
        """The call as it is on disk; None if there is none."""
        async with self._store.transaction() as tx:
            record = await tx.calls.find(call_id)
            return _call(record, await tx.calls.inputs(call_id)) if record else None

    async def recall_request(self, request_key: str) -> LiveCall | None:
        """The call that was made by a request with this key."""
        async with self._store.transaction() as tx:
            record = await tx.calls.find_by_request(request_key)
            return _call(record, await tx.calls.inputs(record.id)) if record else None

    async def unfinished(self) -> list[LiveCall]:
        """Every call with an input that was acknowledged and has no result, oldest first."""
        async with self._store.transaction() as tx:
            return [
                _call(record, open_inputs if record.kind is CallKind.UNARY else await tx.calls.inputs(record.id))
                for record, open_inputs in await tx.calls.unfinished()
            ]

    async def last_attempts(self) -> Mapping[InputId, Attempt]:
        """The newest try of each input that has no result."""
        async with self._store.transaction() as tx:
            return {attempt.input_id: attempt for attempt in await tx.calls.last_attempts()}

    async def _take_over(self, live: LiveInput, item: api_pb2.FunctionGetOutputsItem) -> None:
        known = await self.recall(live.call.id)
        if known is not None and (first := known.latest.get(live.idx)) is not None:
            item.CopyFrom(first)

    def _stored(self, inputs: Sequence[LiveInput]) -> list[StoredInput]:
        now = self._clock.now()
        return [
            StoredInput(
                id=live.id,
                call_id=live.call.id,
                idx=live.idx,
                payload=live.payload.SerializeToString(),
                created_at=now,
                method_name=live.payload.method_name,
            )
            for live in inputs
        ]


async def _write(tx: Transaction, changes: Sequence[_Change]) -> None:
    """What is alike together: a statement costs more than a row."""
    written = set(
        await tx.calls.write(
            calls=[change.call for change in changes if change.call],
            inputs=[item for change in changes for item in change.inputs],
            results=[result for change in changes for result in change.results],
        )
    )
    for change in changes:
        for input_id, attempt in change.attempts.items():
            await tx.calls.set_attempt(input_id, attempt)
        ours = {result.input_id for result in change.results}
        change.late = ours - written
        written -= ours


def _call(record: FunctionCall, inputs: Sequence[StoredInput]) -> LiveCall:
    """With its outputs in the order in which they came: a reader's cursor counts along it."""
    call = LiveCall(record, retry_policy_of(api_pb2.FunctionRetryPolicy.FromString(record.retry_policy)))
    call.inputs = {stored.idx: _input(call, stored) for stored in inputs}
    results = sorted(
        (stored.finished_at, stored.idx, stored.result) for stored in inputs if stored.result is not None and stored.finished_at
    )
    call.outputs = [api_pb2.FunctionGetOutputsItem.FromString(result) for _, _, result in results]
    call.latest = {item.idx: item for item in call.outputs}
    call.unfinished = len(inputs) - len(call.outputs)
    return call


def _input(call: LiveCall, stored: StoredInput) -> LiveInput:
    state = InputState.QUEUED if stored.result is None else InputState.DONE
    payload = api_pb2.FunctionInput.FromString(stored.payload)
    return LiveInput(stored.id, call, stored.idx, payload, state=state, attempt=stored.attempt)
