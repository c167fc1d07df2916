"""Traces of calls and web requests, from what the engine has recorded of them: for people at once, for OpenTelemetry when they end."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from modal_proto import api_pb2

from freehold.control.services.call_history import PastCall, PastInput, ran_in
from freehold.control.services.call_records import CallRecords
from freehold.control.services.coldstarts import ColdStarts
from freehold.control.services.trace_contexts import TraceContexts
from freehold.domain.calls import Invocation
from freehold.domain.clock import Clock
from freehold.domain.coldstarts import ColdStart
from freehold.domain.errors import NotFound
from freehold.domain.ids import CallId, FunctionId, InputId, TaskId, call_of_request, is_id
from freehold.domain.trace_contexts import TraceParent, read_traceparent, run_span, trace_id
from freehold.domain.traces import (
    CallFacts,
    InputFacts,
    RequestFacts,
    Span,
    Trace,
    in_order,
    parent_of,
    spans_of_call,
    spans_of_request,
)
from freehold.domain.waterfalls import waterfall
from freehold.store.ports import Store

_SERVER_ERROR = 500  # status of a response, and above
_REQUESTS = 5_000  # web requests that are remembered
_NAMES = 10_000
_GRAPH = 200  # inputs of one trace
_STARTS = 20  # containers of one trace whose starts are told
_RESULTS_OF = 16  # inputs of an asynchronous call whose results are read, for when their code ran
_R = api_pb2.GenericResult
_ENDS: Mapping[int, str] = {
    _R.GENERIC_STATUS_SUCCESS: "succeeded",
    _R.GENERIC_STATUS_FAILURE: "failed",
    _R.GENERIC_STATUS_TERMINATED: "cancelled",
    _R.GENERIC_STATUS_TIMEOUT: "timeout",
    _R.GENERIC_STATUS_INIT_FAILURE: "no container became ready",
    _R.GENERIC_STATUS_KERNEL_OOM_KILL: "out of memory",
}

Seen = tuple[FunctionId, str, int, float, float, float, float, str, bytes]
"""A web request as the gateway noted it: whose, method, status; when it began, was given a container, had its first byte of a response and
ended (seconds since 1970, 0: never); the task; what its caller said of its trace.
"""


class Traces:
    def __init__(self, *, store: Store, records: CallRecords, contexts: TraceContexts, cold_starts: ColdStarts, clock: Clock) -> None:
        self._store = store
        self._records = records
        self._contexts = contexts
        self._cold_starts = cold_starts
        self._clock = clock
        self._requests: OrderedDict[CallId, Seen] = OrderedDict()
        self._ended: Callable[[CallId, Seen], None] | None = None
        self._names: dict[FunctionId, str] = {}

    def report_requests_to(self, ended: Callable[[CallId, Seen], None]) -> None:
        """Traces are sent: containers are told of ours, and web requests that have ended are told to this."""
        self._contexts.are_sent = True
        self._ended = ended

    # The gateway's side.

    def context(self, call_id: CallId, input_id: InputId, traceparent: bytes) -> bytes:
        """See `gateway.ports.Traces`."""
        return self._contexts.request_began(call_id, input_id, traceparent)

    def note(self, call_id: CallId, seen: Seen) -> None:
        """A web request has ended."""
        self._requests[call_id] = seen
        if len(self._requests) > _REQUESTS:
            self._requests.popitem(last=False)
        self._contexts.request_ended(call_id)
        if self._ended is not None:
            self._ended(call_id, seen)

    # What is sent.

    async def of_request(self, call_id: CallId, seen: Seen) -> Trace | None:
        """The spans of a web request alone; None if its caller has decided that nobody wants them."""
        facts = await self._request(call_id, seen)
        if facts.origin is not None and not facts.origin.is_sampled:
            return None
        start = (await self._starts([], seen)).get(TaskId(facts.task_id))
        return Trace(
            id=facts.origin.trace_id if facts.origin else trace_id(call_id), spans=spans_of_request(facts, _input_of(call_id), start)
        )

    async def of_call(self, call: PastCall) -> Trace | None:
        """The spans of a call alone, in the trace that it belongs to; None as for a request."""
        origin = call.record.origin
        if origin is not None and not origin.is_sampled:
            return None
        facts = await self._facts(call)
        starts = await self._starts([attempt.task_id for item in facts.inputs for attempt in item.tries], None)
        spans = spans_of_call(facts, starts, parent=origin.span_id if origin else "")
        return Trace(id=origin.trace_id if origin else trace_id(call.record.id), spans=spans)

    # What people ask.

    def seen(self, call_id: CallId) -> Seen | None:
        """A web request that is remembered."""
        return self._requests.get(call_id)

    def failed_requests(self, function_ids: Collection[FunctionId] | None, limit: int) -> Sequence[tuple[CallId, Seen]]:
        """Web requests that got an error of the server, or no response; of these functions, or of all. The last ones first."""
        failed = (
            (call_id, seen)
            for call_id, seen in reversed(self._requests.items())
            if (seen[2] >= _SERVER_ERROR or seen[2] == 0) and (function_ids is None or seen[0] in function_ids)
        )
        return list(islice(failed, limit))

    async def of(self, subject: str) -> Trace:
        """The whole trace of a call, an input or a web request, by id: from what began it to all that was called. Raises NotFound."""
        call_id = await self._call_id(subject)
        calls = [] if call_id in self._requests else await self._records.graph(call_id, _GRAPH)
        request_id = call_id if call_id in self._requests else _request_of(calls)
        if request_id in self._requests:
            calls = await self._records.called_by(_input_of(request_id), _GRAPH)
        return await self._trace(request_id, calls)

    async def show(self, request: dict[str, Any]) -> dict[str, Any]:
        """`subject` is an id of a call or an input. Times are seconds; those of the rows since the trace began."""
        trace = await self.of(str(request.get("subject", "")))
        rows = waterfall(trace, self._clock.now(), int(request.get("width", 40)))
        return {
            "trace_id": trace.id,
            "began_at": min(span.begins_at for span in trace.spans).isoformat(),
            "spans": [
                {
                    "name": row.span.name,
                    "id": row.span.id,
                    "parent": row.span.parent,
                    "depth": row.depth,
                    "offset": round(row.offset, 6),
                    "seconds": round(row.seconds, 6),
                    "is_over": row.span.ends_at is not None,
                    "is_error": row.span.is_error,
                    "bar": row.bar,
                    "attributes": dict(row.span.attributes),
                }
                for row in rows
            ],
        }

    # The steps.

    async def _call_id(self, subject: str) -> CallId:
        if is_id(subject, "fc"):
            return CallId(subject)
        if is_id(subject, "in"):
            if (request_id := call_of_request(InputId(subject))) in self._requests:
                return request_id
            if (call := await self._records.call_of(InputId(subject))) is not None:
                return call.record.id
        msg = f"No trace of {subject!r}. Give the id of a function call (fc-…), also that of a web response (modal-function-call-id)."
        raise NotFound(msg)

    async def _trace(self, request_id: CallId, calls: Sequence[PastCall]) -> Trace:
        facts = [await self._facts(call) for call in calls]
        seen = self._requests.get(request_id)
        began, origin = (request_id, _origin(seen[8])) if seen is not None else (calls[0].record.id, calls[0].record.origin)
        starts = await self._starts([attempt.task_id for call in facts for item in call.inputs for attempt in item.tries], seen)
        spans: list[Span] = []
        if seen is not None:
            request = await self._request(request_id, seen)
            spans += spans_of_request(request, _input_of(request_id), starts.get(TaskId(request.task_id)))
        spans += [span for call in facts for span in spans_of_call(call, starts, parent=_parent(call, facts))]
        return Trace(id=origin.trace_id if origin else trace_id(began), spans=in_order(spans))

    async def _request(self, call_id: CallId, seen: Seen) -> RequestFacts:
        function_id, method, status, began, booked, answered, ended, task_id, traceparent = seen
        return RequestFacts(
            call_id=call_id,
            function=await self._name(function_id),
            method=method,
            status=status,
            began_at=_moment(began),
            booked_at=_moment(booked) if booked else None,
            answered_at=_moment(answered) if answered else None,
            ended_at=_moment(ended),
            task_id=task_id,
            origin=_origin(traceparent),
        )

    async def _facts(self, call: PastCall) -> CallFacts:
        ran = await self._ran(call)
        return CallFacts(
            id=call.record.id,
            function=await self._name(call.record.function_id),
            created_at=call.record.created_at,
            parent_input_id=call.record.parent_input_id,
            inputs=[_input(item, ran.get(item.id, item.ran)) for item in call.inputs],
            attributes={"freehold.kind": str(call.record.kind), "freehold.invocation": str(call.record.invocation)},
        )

    async def _ran(self, call: PastCall) -> dict[InputId, tuple[float, float] | None]:
        if call.record.invocation is not Invocation.ASYNC or call.tally.total > _RESULTS_OF:
            return {}
        async with self._store.transaction() as tx:
            stored = await tx.calls.inputs(call.record.id)
        return {item.id: ran_in(api_pb2.FunctionGetOutputsItem.FromString(item.result)) for item in stored if item.result}

    async def _starts(self, task_ids: Iterable[TaskId], seen: Seen | None) -> dict[TaskId, ColdStart]:
        wanted = list(dict.fromkeys([*([TaskId(seen[7])] if seen and seen[7] else []), *task_ids]))
        starts = {}
        for task_id in wanted[:_STARTS]:
            try:
                starts[task_id] = await self._cold_starts.of_task(task_id)
            except NotFound:  # its history has been forgotten
                continue
        return starts

    async def _name(self, function_id: FunctionId) -> str:
        if function_id not in self._names:
            if len(self._names) > _NAMES:
                self._names.clear()
            self._names[function_id] = await self._found_name(function_id)
        return self._names[function_id]

    async def _found_name(self, function_id: FunctionId) -> str:
        async with self._store.transaction() as tx:
            try:
                function = await tx.functions.get(function_id)
                app = await tx.apps.get(function.app_id)
            except NotFound:
                return function_id
        return f"{app.name or app.description or app.id}.{function.tag.removesuffix('.*')}"


def _input(item: PastInput, ran: tuple[float, float] | None) -> InputFacts:
    return InputFacts(
        id=item.id,
        idx=item.idx,
        tries=item.tries,
        finished_at=item.finished_at,
        end=_ENDS.get(item.status, "failed") if item.status else "",
        is_failure=item.status not in (_R.GENERIC_STATUS_UNSPECIFIED, _R.GENERIC_STATUS_SUCCESS),
        ran=(_moment(ran[0]), _moment(ran[1])) if ran else None,
    )


def _parent(call: CallFacts, calls: Sequence[CallFacts]) -> str:
    """The span in which the call was made; empty if nothing is known that made it."""
    if not call.parent_input_id:
        return ""
    made_it = (item for other in calls for item in other.inputs if item.id == call.parent_input_id)
    item = next(made_it, None)
    return parent_of(item.id, item.tries, call.created_at) if item else run_span(call.parent_input_id)


def _request_of(calls: Sequence[PastCall]) -> CallId:
    """The web request that the first of these was made in, if it was made in one."""
    return call_of_request(InputId(calls[0].record.parent_input_id or "in-"))


def _input_of(request_id: CallId) -> InputId:
    return InputId(f"in{request_id[2:]}")


def _origin(traceparent: bytes) -> TraceParent | None:
    return read_traceparent(traceparent.decode("latin-1"))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
