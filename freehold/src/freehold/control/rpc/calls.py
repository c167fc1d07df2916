"""Function calls: inputs in, outputs out, streams beside them."""

from collections.abc import AsyncIterator

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.services.calls import Calls
from freehold.control.services.functions import Functions
from freehold.control.services.live import LiveCall, LiveInput
from freehold.control.services.tasks import Tasks
from freehold.domain import clients
from freehold.domain.calls import CallKind, Invocation
from freehold.domain.errors import PermissionDenied
from freehold.domain.ids import CallId, FunctionId
from freehold.domain.trace_contexts import read_traceparent
from freehold.wire.tickets import CallTicket, InputTicket

_KINDS = {api_pb2.FUNCTION_CALL_TYPE_MAP: CallKind.MAP}
_ASYNCHRONOUS = {api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC, api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC_LEGACY}
_STREAM_POLL = 55.0  # seconds of silence after which the client asks again
_MAX_OUTSTANDING = 1000  # inputs of one map that its client keeps here at a time


class CallRpcs:
    def __init__(self, *, calls: Calls, functions: Functions, tasks: Tasks) -> None:
        self._calls = calls
        self._functions = functions
        self._tasks = tasks

    async def FunctionMap(self, request: api_pb2.FunctionMapRequest, caller: Caller) -> api_pb2.FunctionMapResponse:
        live = await self._functions.live(FunctionId(request.function_id))
        is_async = request.function_call_invocation_type in _ASYNCHRONOUS
        call = await self._made_before(caller) if is_async else None
        if call is None:
            call = await self._calls.create(
                live.function,
                kind=_KINDS.get(request.function_call_type, CallKind.UNARY),
                invocation=Invocation.ASYNC if is_async else Invocation.SYNC,
                parent_input_id=request.parent_input_id,
                origin=read_traceparent(caller.traceparent) if caller.traceparent else None,
                request_key=caller.idempotency_key,
                retry_policy=live.message.retry_policy,
                items=request.pipelined_inputs,
                leaves_retries=_leaves_retries(request, caller),
            )
        return api_pb2.FunctionMapResponse(
            function_call_id=call.id,
            pipelined_inputs=[_accepted(item) for item in call.inputs.values()],
            retry_policy=_client_policy(call, live.message.retry_policy, caller),
            function_call_jwt=str(CallTicket(call.id, call.function_id, call.record.kind, request.parent_input_id)),
            sync_client_retries_enabled=True,
            max_inputs_outstanding=_MAX_OUTSTANDING,
        )

    async def _made_before(self, caller: Caller) -> LiveCall | None:
        """A request that is sent again may have been heard by an engine that is no more."""
        return await self._calls.recall_request(caller.idempotency_key) if caller.is_repeating else None

    async def FunctionPutInputs(self, request: api_pb2.FunctionPutInputsRequest, _caller: Caller) -> api_pb2.FunctionPutInputsResponse:
        call_id = CallId(request.function_call_id)
        if await self._calls.reopen(call_id) is None:
            await self._resume(CallTicket.read(str(CallTicket(call_id, FunctionId(request.function_id), CallKind.MAP))))
        inputs = await self._calls.put_inputs(call_id, request.inputs)
        return api_pb2.FunctionPutInputsResponse(inputs=[_accepted(item) for item in inputs])

    async def FunctionRetryInputs(
        self, request: api_pb2.FunctionRetryInputsRequest, _caller: Caller
    ) -> api_pb2.FunctionRetryInputsResponse:
        call = await self._resume(CallTicket.read(request.function_call_jwt))
        retried = [self._calls.retry(call, InputTicket.read(item.input_jwt), item.input, item.retry_count) for item in request.inputs]
        return api_pb2.FunctionRetryInputsResponse(input_jwts=[_ticket(item) for item in retried])

    async def _resume(self, ticket: CallTicket) -> LiveCall:
        live = await self._functions.live(ticket.function_id)
        return self._calls.resume(
            live.function,
            ticket.call_id,
            kind=ticket.kind,
            parent_input_id=ticket.parent_input_id,
            retry_policy=live.message.retry_policy,
        )

    async def FunctionGetOutputs(self, request: api_pb2.FunctionGetOutputsRequest, caller: Caller) -> api_pb2.FunctionGetOutputsResponse:
        return await self._calls.outputs(request, sends_again=clients.sends_again(caller.client_version))

    async def FunctionCallFromId(self, request: api_pb2.FunctionCallFromIdRequest, _caller: Caller) -> api_pb2.FunctionCallFromIdResponse:
        call = await self._calls.find_record(CallId(request.function_call_id))
        return api_pb2.FunctionCallFromIdResponse(
            function_call_id=call.id,
            num_inputs=len(call.inputs),
            metadata=api_pb2.FunctionCallHandleMetadata(app_id=call.record.app_id, function_id=call.function_id),
        )

    async def FunctionCallCancel(self, request: api_pb2.FunctionCallCancelRequest, _caller: Caller) -> Empty:
        running = await self._calls.cancel(CallId(request.function_call_id))
        if request.terminate_containers:
            self._tasks.stop_holders(running, "its call was cancelled with terminate_containers")
        return Empty()

    async def FunctionCallPutDataOut(self, request: api_pb2.FunctionCallPutDataRequest, caller: Caller) -> Empty:
        """As with outputs, what comes from a task that does not run the call (any more) is late, and not wanted."""
        call = self._calls.find_live(CallId(request.function_call_id))
        if call is not None and self._is_run_by(call, caller):
            await call.data_out.write(request.data_chunks)
        return Empty()

    async def FunctionCallGetDataOut(
        self, request: api_pb2.FunctionCallGetDataRequest, _caller: Caller
    ) -> AsyncIterator[api_pb2.DataChunk]:
        call = self._calls.get_live(CallId(request.function_call_id))
        async for chunk in call.data_out.read(request.last_index, _STREAM_POLL):
            yield chunk

    async def FunctionCallGetDataIn(self, request: api_pb2.FunctionCallGetDataRequest, caller: Caller) -> AsyncIterator[api_pb2.DataChunk]:
        call = self._calls.get_live(CallId(request.function_call_id))
        if not self._is_run_by(call, caller):
            msg = f"Only the container that runs call {call.id} reads what is sent to it."
            raise PermissionDenied(msg)
        async for chunk in call.data_in.read(request.last_index, _STREAM_POLL):
            yield chunk

    def _is_run_by(self, call: LiveCall, caller: Caller) -> bool:
        task = self._tasks.find(caller.task_id) if caller.task_id else None
        return task is not None and any(live.call is call for live in task.running.values())


def _accepted(live: LiveInput) -> api_pb2.FunctionPutInputsResponseItem:
    return api_pb2.FunctionPutInputsResponseItem(idx=live.idx, input_id=live.id, input_jwt=_ticket(live))


def _ticket(live: LiveInput) -> str:
    return str(InputTicket(live.call.id, live.id, live.idx, live.attempt))


def _leaves_retries(request: api_pb2.FunctionMapRequest, caller: Caller) -> bool:
    is_map = request.function_call_type == api_pb2.FUNCTION_CALL_TYPE_MAP
    return clients.leaves_retries(caller.client_version, is_map=is_map)


def _client_policy(call: LiveCall, own: api_pb2.FunctionRetryPolicy, caller: Caller) -> api_pb2.FunctionRetryPolicy:
    """A client that waits for a single result listens to tales of a restarted engine only where it may retry. So it always may; a failure
    of a function without retries reaches it as one after which it does not (`outputs._final`). Old clients would.
    """
    is_otherwise = call.is_durable or call.record.kind is not CallKind.UNARY or own.retries
    if is_otherwise or not clients.sends_again(caller.client_version):
        return own
    return api_pb2.FunctionRetryPolicy(retries=1, backoff_coefficient=1.0, initial_delay_ms=1000, max_delay_ms=1000)
