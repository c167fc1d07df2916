"""Calls as people look at them: lists, counts, one call's state, and the graph of who called whom."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc.mapping import moment, seconds
from freehold.control.services.call_history import PastCall, PastInput
from freehold.control.services.call_records import CallRecords
from freehold.control.services.functions import Functions
from freehold.domain.errors import NotFound
from freehold.domain.ids import CallId, FunctionId

_MOST_CALLS = 10_000  # in one answer
_GRAPH_INPUTS = 1000
_LATEST = 10  # inputs of each kind in the summary of a call
_LISTED = 100  # calls of a list that asks for no number
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_SOON = timedelta(days=1)  # clocks of clients may be ahead
_GENERIC = api_pb2.GenericResult
_PENDING, _RUNNING = api_pb2.FUNCTION_CALL_INPUT_STATUS_PENDING, api_pb2.FUNCTION_CALL_INPUT_STATUS_RUNNING
_STATUSES: dict[int, "api_pb2.FunctionCallInputStatus.ValueType"] = {
    number: api_pb2.FunctionCallInputStatus.Value(name.replace("GENERIC_STATUS", "FUNCTION_CALL_INPUT_STATUS"))
    for name, number in _GENERIC.GenericStatus.items()
    if number
}
_CATEGORIES = {
    0: "pending_inputs",
    _GENERIC.GENERIC_STATUS_SUCCESS: "succeeded_inputs",
    _GENERIC.GENERIC_STATUS_TIMEOUT: "timeout_inputs",
    _GENERIC.GENERIC_STATUS_TERMINATED: "cancelled_inputs",
}


class CallRecordRpcs:
    def __init__(self, *, records: CallRecords, functions: Functions) -> None:
        self._records = records
        self._functions = functions

    async def FunctionCallGetInfo(
        self, request: api_pb2.FunctionCallGetInfoRequest, _caller: Caller
    ) -> api_pb2.FunctionCallGetInfoResponse:
        return api_pb2.FunctionCallGetInfoResponse(info=_info(await self._records.get(CallId(request.function_call_id))))

    async def FunctionCallList(self, request: api_pb2.FunctionCallListRequest, _caller: Caller) -> api_pb2.FunctionCallListResponse:
        found = await self._calls(request.function_id, all_variants=False, limit=_LISTED)
        return api_pb2.FunctionCallListResponse(function_calls=[_info(call) for call in found])

    async def FunctionCallFetch(self, request: api_pb2.FunctionCallFetchRequest, _caller: Caller) -> api_pb2.FunctionCallFetchResponse:
        """The last ones newest first, those of a range oldest first; each input is a line of its own."""
        since, until, limit = _BEGINNING, datetime.now(UTC) + _SOON, request.tail.count or _LISTED
        if request.HasField("range"):
            since, until = moment(request.range.since), moment(request.range.until)
            limit = request.range.limit or _MOST_CALLS
        calls = await self._calls(request.function_id, all_variants=request.all_variants, since=since, until=until, limit=limit)
        lines = [_line(call, item) for call in calls for item in call.inputs][:limit]
        return api_pb2.FunctionCallFetchResponse(function_call_inputs=lines[::-1] if request.HasField("range") else lines)

    async def FunctionCallCount(self, request: api_pb2.FunctionCallCountRequest, _caller: Caller) -> api_pb2.FunctionCallCountResponse:
        since, until = moment(request.since), moment(request.until)
        calls = await self._calls(request.function_id, all_variants=request.all_variants, since=since, until=until)
        width = request.bucket_secs or 60
        counts: Counter[int] = Counter()
        for call in calls:
            counts[int(call.record.created_at.timestamp()) // width * width] += call.tally.total
        buckets = [
            api_pb2.FunctionCallCountResponse.InputBucket(bucket_start_at=Timestamp(seconds=start), count=count)
            for start, count in sorted(counts.items())
        ]
        return api_pb2.FunctionCallCountResponse(buckets=buckets)

    async def FunctionGetCallGraph(
        self, request: api_pb2.FunctionGetCallGraphRequest, _caller: Caller
    ) -> api_pb2.FunctionGetCallGraphResponse:
        calls = await self._records.graph(CallId(request.function_call_id), _GRAPH_INPUTS)
        inputs = [_node(call, item) for call in calls for item in call.inputs]
        known = {item.input_id for item in inputs[:_GRAPH_INPUTS]}
        return api_pb2.FunctionGetCallGraphResponse(
            inputs=inputs[:_GRAPH_INPUTS],
            function_calls=[await self._edge(call, known) for call in calls],
            truncated=sum(call.tally.total for call in calls) > _GRAPH_INPUTS,
        )

    async def _calls(
        self,
        function_id: str,
        *,
        all_variants: bool,
        since: datetime = _BEGINNING,
        until: datetime | None = None,
        limit: int = _MOST_CALLS,
    ) -> Sequence[PastCall]:
        live = await self._functions.live(FunctionId(function_id))
        function_ids = await self._functions.variants(live.function) if all_variants else [live.id]
        return await self._records.recent(function_ids, since, until or datetime.now(UTC) + _SOON, min(limit, _MOST_CALLS))

    async def _edge(self, call: PastCall, known: Collection[str]) -> api_pb2.FunctionCallCallGraphInfo:
        """A parent that is not in the graph, such as a web request, is left out: the client would leave out the call with it."""
        parent = call.record.parent_input_id
        edge = api_pb2.FunctionCallCallGraphInfo(function_call_id=call.record.id, parent_input_id=parent if parent in known else "")
        try:
            live = await self._functions.live(call.record.function_id)
        except NotFound:  # its app has stopped since
            return edge
        method = call.inputs[0].method_name if call.inputs else ""
        edge.function_name = f"{live.function.tag.removesuffix('*')}{method}" if method else live.function.tag
        edge.module_name = live.message.module_name
        return edge


def _info(call: PastCall) -> api_pb2.FunctionCallInfo:
    info = api_pb2.FunctionCallInfo(
        function_call_id=call.record.id,
        created_at=seconds(call.record.created_at),
        scheduled_at=seconds(call.record.created_at),
        total_inputs=call.tally.total,
    )
    for status, count in {**call.tally.by_status, 0: call.tally.unfinished}.items():
        _category(info, status).total += count
    for item in call.inputs:
        category = _category(info, item.status)
        if len(category.latest) < _LATEST:
            category.latest.add(
                input_id=item.id,
                idx=item.idx,
                task_id=item.task_id,
                started_at=seconds(item.started_at),
                finished_at=seconds(item.finished_at),
            )
    return info


def _category(info: api_pb2.FunctionCallInfo, status: int) -> api_pb2.InputCategoryInfo:
    category: api_pb2.InputCategoryInfo = getattr(info, _CATEGORIES.get(status, "failed_inputs"))
    return category


def _line(call: PastCall, item: PastInput) -> api_pb2.FunctionCallInputInfo:
    line = api_pb2.FunctionCallInputInfo(function_call_id=call.record.id, status=_status(item))
    line.enqueued_at.FromDatetime(call.record.created_at)
    if item.method_name:
        line.service_method_name = item.method_name
    if item.started_at is not None:
        line.container_id = item.task_id
        line.started_at.FromDatetime(item.started_at)
    if item.started_at is not None and item.finished_at is not None:
        line.execution_time_seconds = (item.finished_at - item.started_at).total_seconds()
    return line


def _status(item: PastInput) -> "api_pb2.FunctionCallInputStatus.ValueType":
    if not item.status:
        return _RUNNING if item.is_running else _PENDING
    return _STATUSES.get(item.status, api_pb2.FUNCTION_CALL_INPUT_STATUS_FAILURE)


def _node(call: PastCall, item: PastInput) -> api_pb2.InputCallGraphInfo:
    return api_pb2.InputCallGraphInfo(
        input_id=item.id,
        status=item.status,  # type: ignore[arg-type]
        function_call_id=call.record.id,
        task_id=item.task_id,
    )
