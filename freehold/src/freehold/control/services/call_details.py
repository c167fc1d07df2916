"""One call to its ground: each input with what it was called with and what came of it, and the same call made again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from modal_proto import api_pb2

from freehold.control.services.call_history import PastCall, PastInput
from freehold.control.services.call_records import CallRecords
from freehold.control.services.calls import Calls
from freehold.control.services.functions import Functions
from freehold.control.services.journal import Journal
from freehold.domain.calls import CallKind, Invocation
from freehold.domain.errors import Conflict, NotFound
from freehold.domain.ids import CallId
from freehold.store.ports import Store
from freehold.wire.functions import is_web
from freehold.wire.shown import shown_arguments, shown_result

_R = api_pb2.GenericResult
_MOST = 100  # inputs of a map that are shown with all they have


@dataclass(frozen=True, slots=True, kw_only=True)
class InputDetails:
    """`arguments` and `result` are None where they are not known any more."""

    item: PastInput
    arguments: str | None
    result: str | None
    exception: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDetails:
    """The first inputs of a call, those that failed before others; `can_replay` says why not where it is not empty."""

    call: PastCall
    inputs: Sequence[InputDetails]
    cannot_replay: str


class CallDesk:
    def __init__(self, *, store: Store, records: CallRecords, calls: Calls, functions: Functions, journal: Journal) -> None:
        self._store = store
        self._records = records
        self._calls = calls
        self._functions = functions
        self._journal = journal

    async def details(self, call_id: CallId) -> CallDetails:
        """Raises NotFound."""
        call = await self._records.get(call_id)
        failed_first = sorted(call.inputs, key=lambda item: (item.status in (0, _R.GENERIC_STATUS_SUCCESS), item.idx))[:_MOST]
        chosen = await self._filled(call, failed_first)
        return CallDetails(call=call, inputs=[_told(item) for item in chosen], cannot_replay=await self._obstacle(call, chosen))

    async def replay(self, call_id: CallId, actor: str) -> CallId:
        """A new asynchronous call of the function as it is now, with the same arguments. Raises Conflict where they are not known."""
        call = await self._records.get(call_id)
        chosen = await self._filled(call, call.inputs[:_MOST])
        if obstacle := await self._obstacle(call, chosen):
            raise Conflict(obstacle)
        payload = api_pb2.FunctionInput.FromString(chosen[0].payload or b"")
        live = await self._functions.live(call.record.function_id)
        made = await self._calls.create(
            live.function,
            kind=CallKind.UNARY,
            invocation=Invocation.ASYNC,
            retry_policy=live.message.retry_policy,
            items=[api_pb2.FunctionPutInputsItem(idx=0, input=payload)],
        )
        self._calls.unwatch(made)
        self._journal.event(made.id, "call_created", cause=f"replay of {call_id}", fields={"actor": actor})
        self._journal.event(call_id, "call_replayed", cause=actor, fields={"call_id": made.id})
        return made.id

    async def _filled(self, call: PastCall, items: Sequence[PastInput]) -> list[PastInput]:
        """What is on disk, read for these inputs only."""
        if call.record.invocation is not Invocation.ASYNC:
            return list(items)
        async with self._store.transaction() as tx:
            stored = {item.id: item for item in await tx.calls.contents([item.id for item in items])}
        return [
            replace(item, payload=stored[item.id].payload, output=stored[item.id].result) if item.id in stored else item for item in items
        ]

    async def _obstacle(self, call: PastCall, items: Sequence[PastInput]) -> str:
        """Why the call cannot be made again; empty: it can."""
        if call.record.kind is not CallKind.UNARY or len(items) != 1:
            return "A map has many inputs: call its function again from Python."
        if items[0].payload is None:
            return "Its arguments are not kept: those of synchronous calls are, if they are small, and for a while."
        try:
            live = await self._functions.live(call.record.function_id)
        except NotFound:
            return "Its function is not deployed any more."
        return "A web request cannot be repeated: its body is not kept." if is_web(live.message) else ""


def _told(item: PastInput) -> InputDetails:
    output = api_pb2.FunctionGetOutputsItem.FromString(item.output) if item.output is not None else None
    is_success = item.status == _R.GENERIC_STATUS_SUCCESS
    return InputDetails(
        item=item,
        arguments=shown_arguments(api_pb2.FunctionInput.FromString(item.payload)) if item.payload is not None else None,
        result=shown_result(output) if output is not None and is_success else None,
        exception=output.result.exception if output is not None and not is_success else "",
        traceback=output.result.traceback if output is not None and not is_success else "",
    )
