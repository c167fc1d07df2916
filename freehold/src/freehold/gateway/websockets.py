"""One WebSocket between a caller and a container: messages in both directions until either side ends it."""

import contextlib
from datetime import timedelta

import anyio
from starlette.types import Message, Receive, Send

from freehold.domain.errors import FreeholdError
from freehold.gateway.exchange import Patience, abandon, send_quietly
from freehold.gateway.ports import AsgiMessage, WebCall
from freehold.gateway.routing import without_hops

# What the app may still do after its caller left (save, say goodbye to others) before its input is cancelled.
_GOODBYE_SECONDS = 10.0
_NORMAL = 1000  # close codes of RFC 6455
_LOST = 1006
# The server that faces the caller makes the handshake.
_OUR_FIELDS = frozenset({b"date", b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol"})


class WebSocketExchange:
    """`run` returns when the connection has ended, and raises what went wrong on the container's side."""

    def __init__(self, *, call: WebCall, receive: Receive, send: Send, start_timeout: timedelta) -> None:
        self._call = call
        self._receive = receive
        self._send = send
        self._patience = Patience(start_timeout)
        self._goodbye = anyio.CancelScope()
        self._is_complete = False
        self._failure: FreeholdError | None = None

    async def run(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._relay_from_caller)
                await self._relay_to_caller()
                group.cancel_scope.cancel()
        finally:
            if not self._is_complete:
                await abandon(self._call, {"type": "websocket.disconnect", "code": _LOST})
        if self._failure:
            raise self._failure

    async def _relay_from_caller(self) -> None:
        while (message := await self._receive())["type"] != "websocket.disconnect":
            await send_quietly(self._call, message)
        self._goodbye.deadline = anyio.current_time() + _GOODBYE_SECONDS
        await send_quietly(self._call, message)

    async def _relay_to_caller(self) -> None:
        """A failure is kept, not raised: a task group would wrap it."""
        try:
            with self._goodbye:
                await self._relay_messages()
                self._is_complete = True
        except FreeholdError as error:
            self._failure = error

    async def _relay_messages(self) -> None:
        messages = aiter(self._call.messages())
        message = await self._patience.first(messages)
        await self._pass_on(message)
        while message["type"] != "websocket.close":
            message = await anext(messages, {"type": "websocket.close", "code": _NORMAL, "reason": ""})
            await self._pass_on(message)

    async def _pass_on(self, message: AsgiMessage) -> None:
        with contextlib.suppress(OSError):  # the caller is gone; `_relay_from_caller` hears of it too
            await self._send(_accepted(message) if message["type"] == "websocket.accept" else dict(message))


def _accepted(message: AsgiMessage) -> Message:
    return {**message, "headers": list(without_hops(message.get("headers", ()), _OUR_FIELDS))}
