"""ASGI applications behind a connection: the engine's own pages, and functions whose containers take requests as messages."""

import asyncio
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

from freehold.gateway.exchanges import Caller, Exchange
from freehold.gateway.heads import Head
from freehold.gateway.routing import Peer
from freehold.gateway.state import ServerState

OPENED = "freehold.opened"  # in the scope: told the id of the call that the request became
_MAX_HELD = 64 * 1024  # bytes of a body that the application has not read
_TOO_LONG = "The application sent more than its Content-Length."
_TOO_SHORT = "The application sent less than its Content-Length."


class AsgiExchange(Exchange):
    """Runs the application in a task of its own; what it sends goes out as its caller takes it."""

    __slots__ = ("_app", "_held", "_is_over", "_left", "_moved", "_request_id", "_scope", "_task")

    def __init__(
        self, state: ServerState, caller: Caller, head: Head, *, app: ASGIApp, kind: str, scope: dict[str, Any], request_id: bytes = b""
    ) -> None:
        super().__init__(state, caller, head)
        self.kind = kind
        self._app = app
        self._request_id = request_id  # that the caller is told, unless the application does
        self._scope = scope | {OPENED: self._opened}
        self._held = bytearray()
        self._is_over = False  # for the application: its caller is gone, or has all
        self._left: int | None = None  # bytes that its Content-Length still promises
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, content: bytes, is_complete: bool) -> None:
        self._held += content
        self.is_complete = is_complete
        self.state.spawn(self._run)

    def receive(self, content: bytes, is_complete: bool) -> None:
        if self.is_complete:
            return  # who came back for the response sends a body with that
        self._held += content
        self.is_complete = is_complete
        if len(self._held) > _MAX_HELD and not is_complete:
            self.caller.hold()
        self._moved.set()

    def abandon(self) -> None:
        self._is_over = True
        self._moved.set()

    def caller_is_ready(self) -> None:
        self._moved.set()

    async def _run(self) -> None:
        failure: Exception | None = None
        try:
            await self._app(self._scope, self._receive, self._send)
        except asyncio.CancelledError:
            self._close(None)
            raise
        except Exception as error:  # noqa: BLE001 — the edge: whatever happened, the caller gets an answer
            failure = error
        self._close(failure)

    def _close(self, failure: Exception | None) -> None:
        """An application that returns without the end of its response: nobody may take half of one for a whole."""
        if self._is_over:
            return
        self._is_over = True
        if failure is None:
            self.caller.cut()
        else:
            self.caller.refuse(failure)

    async def _receive(self) -> Message:
        if self.head.expects and not self.caller.has_begun and not self._held and not self.is_complete:
            self.caller.inform(100)
        while not (self._held or self.is_complete or self._is_over):
            self.caller.let_go()
            await self._change()
        if self._is_over or (self.is_complete and not self._held and self._scope.get("freehold.read")):
            return await self._end()
        body, self._held = bytes(self._held), bytearray()
        self._scope["freehold.read"] = self.is_complete
        return {"type": "http.request", "body": body, "more_body": not self.is_complete}

    async def _end(self) -> Message:
        while not self._is_over:
            await self._change()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        while self.caller.is_slow and self.caller.has_begun and not self._is_over:
            await self._change()
        if self._is_over:
            return
        if message["type"] == "http.response.start":
            self._begin(message)
        elif message["type"] == "http.response.body":
            self._send_body(message.get("body", b""), more=message.get("more_body", False))

    def _begin(self, message: Message) -> None:
        length: bytes | None = None
        lines = []
        has_id = not self._request_id
        for name, value in message.get("headers", ()):
            told = bytes(name).lower()  # servers behind modal's own proxy write them as they like
            if told == b"content-length":
                length = b"%d" % int(value)
            elif told not in {b"connection", b"transfer-encoding", b"date"}:
                lines.append(b"\r\n" + name + b": " + value)
                has_id = has_id or told == b"x-request-id"
        self._left = None if length is None or self.head.method == b"HEAD" or message["status"] in {204, 304} else int(length)
        lines.append(self.state.date_line)
        if self.call_id:
            lines.append(b"\r\nmodal-function-call-id: " + self.call_id.encode())
        if not has_id:
            lines.append(b"\r\nx-request-id: " + self._request_id)
        self.caller.begin(message["status"], b"".join(lines), length)
        self.caller.flush()

    def _send_body(self, data: bytes, *, more: bool) -> None:
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise RuntimeError(_TOO_LONG)
            if not more and self._left:
                raise RuntimeError(_TOO_SHORT)
        self.caller.send(data)
        if more:
            self.caller.flush()
            return
        self._is_over = True
        self._moved.set()
        self.caller.finish()

    async def _change(self) -> None:
        """Something came, or changed."""
        self._moved.clear()
        await self._moved.wait()

    def _opened(self, call_id: str, owner: object) -> None:
        if not self.call_id:
            self.call_id, self.owner = call_id, owner


def scope_of(head: Head, peer: Peer) -> dict[str, Any]:
    path, _, query = head.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": f"1.{head.minor}",
        "server": peer.server,
        "client": peer.address,
        "scheme": peer.scheme,
        "root_path": "",
        "method": head.method.decode("ascii"),
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "headers": head.fields,
    }
