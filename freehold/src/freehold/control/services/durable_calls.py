"""Asynchronous calls on disk: written before they are acknowledged, read when memory no longer has them."""

from collections.abc import Sequence

from modal_proto import api_pb2

from freehold.control.services.group_commit import GroupCommit
from freehold.control.services.live import InputState, LiveCall, LiveInput
from freehold.domain.calls import FunctionCall, StoredInput
from freehold.domain.clock import Clock
from freehold.domain.ids import CallId, InputId
from freehold.store.ports import Store, Transaction


class DurableCalls:
    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._group = GroupCommit(store=store)

    async def put(self, record: FunctionCall, inputs: Sequence[LiveInput] = ()) -> None:
        """A call, and the inputs that came with it."""
        stored = self._stored(inputs)

        async def write(tx: Transaction) -> None:
            await tx.calls.put(record)
            await tx.calls.add_inputs(stored)

        await self._group.write(write)

    async def add_inputs(self, inputs: Sequence[LiveInput]) -> None:
        stored = self._stored(inputs)
        await self._group.write(lambda tx: tx.calls.add_inputs(stored))

    async def record_result(self, input_id: InputId, item: api_pb2.FunctionGetOutputsItem) -> None:
        result, now = item.SerializeToString(), self._clock.now()
        await self._group.write(lambda tx: tx.calls.record_result(input_id, result, now))

    async def recall(self, call_id: CallId) -> LiveCall | None:
        """The call as it is on disk; None if there is none."""
        async with self._store.transaction() as tx:
            record = await tx.calls.find(call_id)
            return _call(record, await tx.calls.inputs(call_id)) if record else None

    async def unfinished(self) -> list[LiveCall]:
        """Every call with an input that was acknowledged and has no result, oldest first."""
        async with self._store.transaction() as tx:
            records = [record for record, _ in await tx.calls.unfinished()]
            return [_call(record, await tx.calls.inputs(record.id)) for record in records]

    def _stored(self, inputs: Sequence[LiveInput]) -> list[StoredInput]:
        now = self._clock.now()
        return [
            StoredInput(id=live.id, call_id=live.call.id, idx=live.idx, payload=live.payload.SerializeToString(), created_at=now)
            for live in inputs
        ]


def _call(record: FunctionCall, inputs: Sequence[StoredInput]) -> LiveCall:
    """With its outputs in the order in which they came: a reader's cursor counts along it."""
    call = LiveCall(record, api_pb2.FunctionRetryPolicy())
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
    return LiveInput(stored.id, call, stored.idx, api_pb2.FunctionInput.FromString(stored.payload), state=state)
