"""One HTTP request on its way to a container, and the response on its way back; bodies stream in both directions."""

import re
from collections.abc import Iterator
from datetime import timedelta

import anyio
from starlette.types import Message, Receive, Send

from freehold.domain.errors import FreeholdError, Unavailable
from freehold.gateway.exchange import Patience, abandon, send_quietly
from freehold.gateway.ports import AsgiMessage, WebCall
from freehold.gateway.routing import without_hops

MAX_CHUNK_BYTES = 1024 * 1024
# The container gives up a request whose first message is not there within 5 s of its start.
_FIRST_MESSAGE_SECONDS = 1.0
_OUR_FIELDS = frozenset({b"date"})  # the server that faces the caller writes it
_END_OF_LINE = re.compile(rb"[\r\n]")
_FINAL_STATUS = range(200, 600)


class HttpExchange:
    """`run` returns when the response is complete or the caller has left, and raises what went wrong on the container's side."""

    def __init__(self, *, call: WebCall, receive: Receive, send: Send, start_timeout: timedelta) -> None:
        self._call = call
        self._receive = receive
        self._send = send
        self._patience = Patience(start_timeout)
        self._is_complete = False
        self._failure: FreeholdError | None = None

    async def run(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._relay_request, group.cancel_scope)
                await self._relay_response()
                group.cancel_scope.cancel()
        finally:
            if not self._is_complete:
                await abandon(self._call, {"type": "http.disconnect"})
        if self._failure:
            raise self._failure

    async def _relay_request(self, exchange: anyio.CancelScope) -> None:
        message = await self._first_message()
        while message["type"] != "http.disconnect":
            for piece in _pieces(message):
                await send_quietly(self._call, piece)
            self._patience.renew()
            message = await self._receive()
        exchange.cancel()  # the caller has left

    async def _first_message(self) -> Message:
        with anyio.move_on_after(_FIRST_MESSAGE_SECONDS):
            return await self._receive()
        return {"type": "http.request", "body": b"", "more_body": True}

    async def _relay_response(self) -> None:
        """A failure is kept, not raised: a task group would wrap it."""
        try:
            await self._relay_messages()
        except FreeholdError as error:
            self._failure = error

    async def _relay_messages(self) -> None:
        messages = aiter(self._call.messages())
        await self._start(await self._patience.first(messages))
        async for message in messages:
            if message["type"] != "http.response.body":
                continue
            await self._send_body(message)
            if self._is_complete:
                return
        text = "The function ended in the middle of its response."
        raise Unavailable(text)

    async def _start(self, message: AsgiMessage) -> None:
        if message["type"] != "http.response.start" or message["status"] not in _FINAL_STATUS:
            text = f"The app does not speak HTTP: its first message was {message['type']} with status {message.get('status')}."
            raise Unavailable(text)
        headers = list(without_hops(message.get("headers", ()), _OUR_FIELDS))
        if any(_END_OF_LINE.search(text) for field in headers for text in field):
            text = "The app has put the end of a line into a field of its response."
            raise Unavailable(text)
        await self._send({"type": "http.response.start", "status": message["status"], "headers": headers})

    async def _send_body(self, message: AsgiMessage) -> None:
        more_body = message.get("more_body", False)
        await self._send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more_body})
        self._is_complete = not more_body


def _pieces(message: Message) -> Iterator[Message]:
    body = message.get("body", b"")
    more_body = message.get("more_body", False)
    for start in range(0, len(body) or 1, MAX_CHUNK_BYTES):
        end = start + MAX_CHUNK_BYTES
        yield {"type": "http.request", "body": body[start:end], "more_body": more_body or end < len(body)}
