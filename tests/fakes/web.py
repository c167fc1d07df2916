"""A control plane for the gateway whose containers are ASGI applications in this process.

Scopes and messages make the same way as in the engine: pickled, and as protobuf bytes. Queues hold one message, as the container's do.
"""

import pickle
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

import anyio
from modal_proto import api_pb2

from freehold.domain.errors import Conflict, FreeholdError, NotFound, Unavailable
from freehold.domain.functions import WebKind, WebRoute, WebTarget
from freehold.domain.ids import CallId, new_app_id, new_call_id, new_function_id
from freehold.gateway.ports import AsgiMessage
from freehold.wire import asgi


@dataclass(frozen=True)
class Deployed:
    target: WebTarget
    app: Any


class FakeWebCalls:
    """`calls` keeps every call opened, in order. An app that raises a refusal stands for a container that fails so."""

    def __init__(self) -> None:
        self.calls: list[FakeWebCall] = []
        self._deployed: dict[str, Deployed] = {}
        self._stack = AsyncExitStack()
        self._opened = anyio.Event()

    async def first(self) -> "FakeWebCall":
        """The first call, as soon as it is opened."""
        await self._opened.wait()
        return self.calls[0]

    def deploy(self, label: str, app: Any, *, kind: WebKind = WebKind.ASGI, name: str = "f") -> None:
        target = WebTarget(function_id=new_function_id(), app_id=new_app_id(), name=name, kind=kind)
        self._deployed[label] = Deployed(target, app)

    async def __aenter__(self) -> Self:
        self._group = await self._stack.enter_async_context(anyio.create_task_group())
        self._stack.callback(self._group.cancel_scope.cancel)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()
        for call in self.calls:
            call.close()

    def route(self, label: str) -> WebRoute:
        if label not in self._deployed:
            msg = f"No app is deployed at '{label}'."
            raise NotFound(msg)
        return WebRoute(target=self._deployed[label].target)

    async def target_of_label(self, label: str) -> WebTarget:
        if label not in self._deployed:
            msg = f"No app is deployed at '{label}'."
            raise NotFound(msg)
        return self._deployed[label].target

    async def open(self, target: WebTarget, scope: Mapping[str, Any]) -> "FakeWebCall":
        app = next(deployed.app for deployed in self._deployed.values() if deployed.target is target)
        ((seen_scope,), _) = pickle.loads(asgi.scope_bytes(scope))
        call = FakeWebCall(app, seen_scope)
        self.calls.append(call)
        self._opened.set()
        self._group.start_soon(call.run)
        return call


class FakeWebCall:
    def __init__(self, app: Any, scope: dict[str, Any]) -> None:
        self._app = app
        self.scope = scope
        self.received: list[AsgiMessage] = []
        self.is_cancelled = False
        self.ended = anyio.Event()
        self._error: FreeholdError | None = None
        self._container = anyio.CancelScope()
        self._to_app, self._app_inbox = anyio.create_memory_object_stream[AsgiMessage](1)
        self._from_app, self._app_outbox = anyio.create_memory_object_stream[AsgiMessage](1)[::-1]
        self._id = new_call_id()

    @property
    def call_id(self) -> CallId:
        return self._id

    async def send(self, message: AsgiMessage) -> None:
        try:
            await self._to_app.send(_over_the_wire(message))
        except anyio.BrokenResourceError as error:
            msg = "The input has ended."
            raise Conflict(msg) from error

    async def messages(self) -> AsyncIterator[AsgiMessage]:
        async for message in self._from_app:
            yield message
        if self._error:
            raise self._error

    async def cancel(self) -> None:
        self.is_cancelled = True
        self._container.cancel()

    def close(self) -> None:
        self._to_app.close()
        self._from_app.close()

    async def run(self) -> None:
        with self._app_inbox, self._app_outbox, self._container:
            await self._run_app()
        self.ended.set()

    async def _run_app(self) -> None:
        try:
            await self._app(self.scope, self._app_receives, self._app_sends)
        except FreeholdError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 — whatever a user's function raises ends its input
            self._error = Unavailable(f"The function raised {error!r}; `modal app logs app` shows its log.")

    async def _app_receives(self) -> AsgiMessage:
        message = await self._app_inbox.receive()
        self.received.append(message)
        return message

    async def _app_sends(self, message: AsgiMessage) -> None:
        await self._app_outbox.send(_over_the_wire(message))


def _over_the_wire(message: AsgiMessage) -> AsgiMessage:
    decoded = asgi.from_proto(api_pb2.Asgi.FromString(asgi.to_proto(message).SerializeToString()))
    assert decoded is not None, message
    return decoded
