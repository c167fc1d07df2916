"""Web requests as inputs: the gateway's side of the data channel."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from modal_proto import api_pb2

from freehold.control.services.apps import Apps
from freehold.control.services.blobs import Blobs
from freehold.control.services.calls import Calls
from freehold.control.services.functions import Functions
from freehold.control.services.live import LiveCall
from freehold.control.services.web_routes import WebRoutes
from freehold.domain.calls import CallKind, Invocation
from freehold.domain.errors import DeadlineExceeded, Unavailable
from freehold.domain.functions import WebTarget
from freehold.domain.ids import BlobId, CallId
from freehold.domain.trace_contexts import TraceParent, read_traceparent
from freehold.wire import asgi

_SILENCE = 24 * 3600.0  # seconds; a web request is bounded by its function's timeout and by the gateway, not here
_STATUS = api_pb2.GenericResult


class WebCalls:
    def __init__(self, *, routes: WebRoutes, functions: Functions, apps: Apps, calls: Calls, blobs: Blobs) -> None:
        self._routes = routes
        self._functions = functions
        self._apps = apps
        self._calls = calls
        self._blobs = blobs

    async def target_of_label(self, label: str) -> WebTarget:
        return self._routes.target(label)

    async def open(self, target: WebTarget, scope: Mapping[str, Any]) -> "WebCall":
        live = await self._functions.live(target.function_id)
        call = await self._calls.create(live.function, kind=CallKind.UNARY, invocation=Invocation.SYNC, origin=_origin(scope))
        payload = api_pb2.FunctionInput(
            args=asgi.scope_bytes(scope), data_format=api_pb2.DATA_FORMAT_PICKLE, method_name=target.method_name
        )
        await self._calls.put_inputs(call.id, [api_pb2.FunctionPutInputsItem(idx=0, input=payload)])
        return WebCall(call, calls=self._calls, apps=self._apps, blobs=self._blobs)


class WebCall:
    """See `gateway.ports.WebCall`."""

    def __init__(self, call: LiveCall, *, calls: Calls, apps: Apps, blobs: Blobs) -> None:
        self._call = call
        self._calls = calls
        self._apps = apps
        self._blobs = blobs

    @property
    def call_id(self) -> CallId:
        return self._call.id

    async def send(self, message: Mapping[str, Any]) -> None:
        await self._call.data_in.append(asgi.to_proto(message).SerializeToString(), api_pb2.DATA_FORMAT_ASGI)

    async def messages(self) -> AsyncIterator[Mapping[str, Any]]:
        try:
            async for chunk in self._call.data_out.read(0, _SILENCE):
                message = asgi.from_proto(api_pb2.Asgi.FromString(await self._data(chunk)))
                if message is not None:
                    yield message
            await self._raise_failure()
        finally:
            self._calls.unwatch(self._call)

    async def cancel(self) -> None:
        await self._calls.cancel(self._call.id)
        self._calls.unwatch(self._call)

    async def _data(self, chunk: api_pb2.DataChunk) -> bytes:
        if chunk.HasField("data_blob_id"):
            return await self._blobs.read(BlobId(chunk.data_blob_id))
        return chunk.data

    async def _raise_failure(self) -> None:
        """The stream has ended. If the input failed, the response may be cut: say so instead of ending in silence."""
        output = self._call.latest.get(0)
        if output is None or output.result.status == _STATUS.GENERIC_STATUS_SUCCESS:
            return
        app = await self._apps.get(self._call.record.app_id)
        where = f"Its log: modal app logs {app.name or app.id}"
        if output.result.status == _STATUS.GENERIC_STATUS_TIMEOUT:
            msg = f"{output.result.exception}. {where}"
            raise DeadlineExceeded(msg)
        msg = f"{output.result.exception}\n{where}"
        raise Unavailable(msg)


def _origin(scope: Mapping[str, Any]) -> TraceParent | None:
    said = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
    return read_traceparent(bytes(said).decode("latin-1"))
