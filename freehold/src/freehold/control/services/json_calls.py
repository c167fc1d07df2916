"""Calls in JSON: a deployed function found by name, called with plain values, its result told in plain values."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from modal_proto import api_pb2

from freehold.control.services.apps import Apps
from freehold.control.services.blobs import Blobs
from freehold.control.services.calls import Calls
from freehold.control.services.functions import Functions, LiveFunction
from freehold.control.services.live import LiveCall
from freehold.domain.apps import App
from freehold.domain.calls import CallKind, Invocation
from freehold.domain.clock import Clock
from freehold.domain.errors import Conflict, InvalidRequest, NotFound
from freehold.domain.ids import BlobId, CallId, FunctionId
from freehold.domain.json_calls import Arguments, Fate, NotJson, Outcome, raised_of
from freehold.domain.trace_contexts import TraceParent, read_traceparent
from freehold.wire import json_values
from freehold.wire.functions import is_generator, is_web_part

T = TypeVar("T")

_GENERIC = api_pb2.GenericResult
_CBOR = api_pb2.DATA_FORMAT_CBOR
_FRESH = 5.0  # seconds that a found name is believed; a new deployment of it is noticed at once
_MOST_NAMES = 1000
_LARGE = 64 * 1024  # bytes that take longer to read than a trip to a thread
_SILENCE = 24 * 3600.0  # seconds between two values of a generator; its timeout ends it before
_FATES = {
    _GENERIC.GENERIC_STATUS_FAILURE: Fate.FAILED,
    _GENERIC.GENERIC_STATUS_TIMEOUT: Fate.TIMED_OUT,
    _GENERIC.GENERIC_STATUS_TERMINATED: Fate.CANCELLED,
}
_NO_CBOR = "as cbor"  # in the words of a container that cannot put a result into CBOR


@dataclass(frozen=True, slots=True)
class _Wanted:
    """`function` is a name, or `Class.method`."""

    environment: str
    app: str
    function: str
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class _Callee:
    live: LiveFunction
    method: str
    is_generator: bool
    found_at: float


class JsonCalls:
    def __init__(
        self, *, apps: Apps, functions: Functions, calls: Calls, blobs: Blobs, clock: Clock, max_inline_bytes: int, result_ttl: timedelta
    ) -> None:
        self._apps = apps
        self._functions = functions
        self._calls = calls
        self._blobs = blobs
        self._clock = clock
        self._max_inline = max_inline_bytes
        self._result_ttl = result_ttl
        self._callees: dict[tuple[str, str, str, str], _Callee] = {}
        self._keyed = asyncio.Lock()  # calls with a key are made one after the other: two with the same one may come together

    async def start(
        self, *, environment: str, app: str, function: str, body: bytes, is_async: bool = False, key: str = "", traceparent: str = ""
    ) -> "JsonCall":
        """Queue a call; those with the same non-empty key are one call. Raises NotFound for names that mean nothing, InvalidRequest for
        what cannot be called so.
        """
        arguments = await _in_thread_if_large(body, lambda: json_values.read_arguments(body))
        wanted = _Wanted(environment, app, function, arguments)
        callee = await self._callee(wanted)
        if callee.is_generator and (is_async or key):
            msg = f"{function!r} is a generator: its values are told while it runs, and not kept. Call it without async and key."
            raise InvalidRequest(msg)
        payload = await self._payload(callee, arguments)
        origin = read_traceparent(traceparent)
        if not key:
            return self._opened(await self._create(callee, payload, origin, is_async=is_async), callee)
        async with self._keyed:
            return self._opened(await self._once(callee, payload, origin, key), callee)

    async def find(self, call_id: CallId) -> "JsonCall":
        """A call by its id. Raises NotFound."""
        call = await self._calls.find_record(call_id)
        if call.record.kind is not CallKind.UNARY:
            msg = f"{call_id} is a map, which has many results. Ask for it with modal.FunctionCall.from_id."
            raise InvalidRequest(msg)
        return JsonCall(call, calls=self._calls, blobs=self._blobs)

    def expiry(self) -> datetime:
        """Until when the result of an asynchronous call that is made now is certainly kept."""
        return self._clock.now() + self._result_ttl

    async def _once(self, callee: _Callee, payload: api_pb2.FunctionInput, origin: TraceParent | None, key: str) -> LiveCall:
        digest = hashlib.sha256(f"{callee.live.function.app_id} {callee.live.id} {callee.method} {key}".encode()).hexdigest()
        request_key = f"http-{digest}"
        found = await self._calls.recall_request(request_key)
        if found is None:
            return await self._create(callee, payload, origin, is_async=True, request_key=request_key)
        if any(live.payload != payload for live in found.inputs.values()):
            msg = "Another call of this function with other arguments was made with this Idempotency-Key. Give each call its own."
            raise Conflict(msg)
        return found

    async def _create(
        self, callee: _Callee, payload: api_pb2.FunctionInput, origin: TraceParent | None, *, is_async: bool, request_key: str = ""
    ) -> LiveCall:
        """Retries of synchronous calls are their client's duty; who speaks JSON has no such client, so the engine keeps the call."""
        policy = callee.live.message.retry_policy
        is_durable = is_async or (bool(policy.retries) and not callee.is_generator)
        return await self._calls.create(
            callee.live.function,
            kind=CallKind.UNARY,
            invocation=Invocation.ASYNC if is_durable else Invocation.SYNC,
            origin=origin,
            request_key=request_key,
            retry_policy=policy if is_durable else None,
            items=[api_pb2.FunctionPutInputsItem(idx=0, input=payload)],
        )

    def _opened(self, call: LiveCall, callee: _Callee) -> "JsonCall":
        return JsonCall(call, calls=self._calls, blobs=self._blobs, is_generator=callee.is_generator)

    async def _payload(self, callee: _Callee, arguments: Arguments) -> api_pb2.FunctionInput:
        data = json_values.encode(arguments)
        payload = api_pb2.FunctionInput(data_format=_CBOR)
        if callee.method:
            payload.method_name = callee.method
        if len(data) > self._max_inline:
            payload.args_blob_id = await self._blobs.put(data)
        else:
            payload.args = data
        return payload

    async def _callee(self, wanted: _Wanted) -> _Callee:
        """Of a function that is called often, from memory."""
        name = (wanted.environment, wanted.app, wanted.function, repr(sorted(wanted.arguments.parameters.items())))
        known, now = self._callees.get(name), self._clock.monotonic()
        if known and now - known.found_at < _FRESH and self._functions.known(known.live.id) is known.live:
            return known
        if len(self._callees) >= _MOST_NAMES:
            self._callees.clear()
        self._callees[name] = found = await self._find(wanted, now)
        return found

    async def _find(self, wanted: _Wanted, now: float) -> _Callee:
        app = await self._apps.get_deployed(wanted.environment, wanted.app)
        name, _, method = wanted.function.partition(".")
        live = await self._functions.live(await self._function_id(app, wanted.function, f"{name}.*" if method else name))
        part = _part(live.message, method, wanted.function)
        _check_callable(part, live, method, wanted.function)
        parameters = json_values.parameters_of(wanted.arguments, live.message.class_parameter_info)
        if parameters:
            request = api_pb2.FunctionBindParamsRequest(function_id=live.id, serialized_params=parameters)
            live = await self._functions.bind(live.id, request)
        return _Callee(live, method, is_generator(part), now)

    async def _function_id(self, app: App, name: str, tag: str) -> FunctionId:
        layout = await self._apps.layout(app.id)
        if f"{name}.*" in layout.function_ids:
            msg = f"{name!r} is a class: call one of its methods, /call/{app.name}/{name}.<method>."
            raise NotFound(msg)
        return await self._apps.function_id(app, tag)


class JsonCall:
    """One call under way, or done."""

    def __init__(self, call: LiveCall, *, calls: Calls, blobs: Blobs, is_generator: bool = False) -> None:
        self._call = call
        self._calls = calls
        self._blobs = blobs
        self.is_generator = is_generator

    @property
    def id(self) -> CallId:
        return self._call.id

    @property
    def is_kept(self) -> bool:
        """Whether its result can be asked for later, and again."""
        return self._call.is_durable

    async def outcome(self, patience: float, *, bytes_as_base64: bool = False) -> Outcome | None:
        """What became of it; None if that is not known within so many seconds."""
        request = api_pb2.FunctionGetOutputsRequest(
            function_call_id=self.id, timeout=patience, start_idx=0, end_idx=0, clear_on_success=not self.is_kept
        )
        answer = await self._calls.outputs(request)
        if answer.outputs and self.is_generator:
            self._calls.unwatch(self._call)  # nobody will come back for its values
        return await self._told(answer.outputs[0], bytes_as_base64=bytes_as_base64) if answer.outputs else None

    async def values(self, *, bytes_as_base64: bool = False) -> AsyncIterator[bytes]:
        """What a generator yields, each value as JSON text. `outcome` says afterwards how it ended. Raises NotJson."""
        async for chunk in self._call.data_out.read(0, _SILENCE):
            if chunk.data_format == _CBOR:
                data = await self._blobs.read(BlobId(chunk.data_blob_id)) if chunk.data_blob_id else chunk.data
                yield await _to_json(data, bytes_as_base64=bytes_as_base64)

    async def cancel(self) -> None:
        """It stops, or never starts; safe to repeat."""
        await self._calls.cancel(self.id)
        if not self.is_kept:
            self._calls.unwatch(self._call)

    async def _told(self, output: api_pb2.FunctionGetOutputsItem, *, bytes_as_base64: bool) -> Outcome:
        result = output.result
        if result.status != _GENERIC.GENERIC_STATUS_SUCCESS:
            return _failure(result)
        if output.data_format == api_pb2.DATA_FORMAT_GENERATOR_DONE:
            return Outcome(fate=Fate.DONE)
        if output.data_format != _CBOR:
            return Outcome(fate=Fate.NOT_JSON, detail="The call was not made in JSON, so its result is a pickle: ask for it from Python.")
        data = await self._blobs.read(BlobId(result.data_blob_id)) if result.data_blob_id else result.data
        try:
            return Outcome(fate=Fate.DONE, content=await _to_json(data, bytes_as_base64=bytes_as_base64))
        except NotJson as error:
            return Outcome(fate=Fate.NOT_JSON, detail=str(error))


async def _to_json(data: bytes, *, bytes_as_base64: bool) -> bytes:
    return await _in_thread_if_large(data, lambda: json_values.to_json(data, bytes_as_base64=bytes_as_base64))


async def _in_thread_if_large(data: bytes, read: Callable[[], T]) -> T:
    return read() if len(data) < _LARGE else await asyncio.to_thread(read)


def _failure(result: api_pb2.GenericResult) -> Outcome:
    fate = _FATES.get(result.status, Fate.BROKEN)
    if fate is not Fate.FAILED:
        return Outcome(fate=fate, detail=result.exception)
    raised = raised_of(result.exception, result.traceback)
    is_not_cbor = raised["type"] == "SerializationError" and _NO_CBOR in result.exception
    return Outcome(fate=Fate.NOT_JSON if is_not_cbor else fate, detail=result.exception, raised=raised)


def _part(message: api_pb2.Function, method: str, name: str) -> api_pb2.Function | api_pb2.MethodDefinition:
    """The definition of the function, or of the method."""
    if not method:
        return message
    if method not in message.method_definitions:
        msg = f"{name!r} is no method of that class. It has: {', '.join(sorted(message.method_definitions)) or 'none'}."
        raise NotFound(msg)
    return message.method_definitions[method]


def _check_callable(part: api_pb2.Function | api_pb2.MethodDefinition, live: LiveFunction, method: str, name: str) -> None:
    if is_web_part(part):
        msg = f"{name!r} answers web requests: send them to {live.web_urls.get(method, 'its own address')}."
        raise InvalidRequest(msg)
    if _CBOR not in part.supported_input_formats:
        msg = f"{name!r} was deployed by a client that knows only pickles. Deploy it with a newer modal package to call it in JSON."
        raise InvalidRequest(msg)
