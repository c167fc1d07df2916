"""Asynchronous calls on disk: written before they are acknowledged, read when memory no longer has them."""

from collections.abc import Sequence

from modal_proto import api_pb2

from freehold.control.services.live import InputState, LiveCall, LiveInput
from freehold.domain.calls import FunctionCall, StoredInput
from freehold.domain.clock import Clock
from freehold.domain.ids import CallId, InputId
from freehold.store.ports import Store


class DurableCalls:
    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def put(self, record: FunctionCall) -> None:
        async with self._store.transaction() as tx:
            await tx.calls.put(record)

    async def add_inputs(self, inputs: Sequence[LiveInput]) -> None:
        now = self._clock.now()
        stored = [
            StoredInput(id=live.id, call_id=live.call.id, idx=live.idx, payload=live.payload.SerializeToString(), created_at=now)
            for live in inputs
        ]
        async with self._store.transaction() as tx:
            await tx.calls.add_inputs(stored)

    async def record_result(self, input_id: InputId, item: api_pb2.FunctionGetOutputsItem) -> None:
        async with self._store.transaction() as tx:
            await tx.calls.record_result(input_id, item.SerializeToString(), self._clock.now())

    async def recall(self, call_id: CallId) -> LiveCall | None:
        """The call as it is on disk, to be read only; None if there is none."""
        async with self._store.transaction() as tx:
            record = await tx.calls.find(call_id)
            inputs = await tx.calls.inputs(call_id) if record else []
        if record is None:
            return None
        call = LiveCall(record, api_pb2.FunctionRetryPolicy())
        for stored in inputs:
            call.inputs[stored.idx] = _live(call, stored, InputState.DONE)
            if stored.result is not None:
                call.outputs.append(api_pb2.FunctionGetOutputsItem.FromString(stored.result))
        call.unfinished = len(inputs) - len(call.outputs)
        call.latest = {item.idx: item for item in call.outputs}
        return call

    async def unfinished(self) -> list[LiveInput]:
        """Every input that was acknowledged and has no result, each with its call, oldest first."""
        async with self._store.transaction() as tx:
            found = await tx.calls.unfinished()
        inputs = []
        for record, stored_inputs in found:
            call = LiveCall(record, api_pb2.FunctionRetryPolicy())
            inputs += [_live(call, stored, InputState.QUEUED) for stored in stored_inputs]
        return inputs


def _live(call: LiveCall, stored: StoredInput, state: InputState) -> LiveInput:
    return LiveInput(stored.id, call, stored.idx, api_pb2.FunctionInput.FromString(stored.payload), queued_at=0.0, state=state)
