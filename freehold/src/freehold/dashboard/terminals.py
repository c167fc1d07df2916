"""A shell in a container, as a terminal in its page: one WebSocket each, which ends with the shell, the container or the login.

Both sides say what they have taken. The page is sent so much that it has not drawn, and no more; it sends keys again when those before were
given to the shell. So neither a flood of output nor a long paste is held anywhere but where it comes from.

To here: first `{"csrf", "rows", "columns"}`, then bytes (keys), `{"rows", "columns"}`, and `{"drawn"}`, the sum of the bytes that were drawn.
From here: bytes (output), `{"written"}` after keys were given to the shell, and last `{"end"}`, in words.
"""

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import anyio
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from freehold.control.services.execs import Execs
from freehold.control.services.tasks import Tasks
from freehold.dashboard.access import Session, is_same
from freehold.dashboard.guard import LASTS, SESSION
from freehold.domain.errors import FreeholdError, InvalidRequest, PermissionDenied, ResourceExhausted
from freehold.domain.ids import TaskId
from freehold.wire.execs import Command, ExecEnd, Stream, Terminal

_MOST = 16  # terminals in all pages
_WINDOW = 256 * 1024  # bytes of output that a page has not drawn yet
_MOST_SIDE = 1000  # rows or columns
_PATIENCE = 10.0  # seconds until a page has said what it wants
_LOOK = 5.0  # seconds between two looks whether whoever opened it is still logged in
_SHELL = ("/bin/sh", "-c", "if [ -x /bin/bash ]; then exec /bin/bash; else exec /bin/sh; fi")
_GONE = "Its container has ended."
_NONSENSE = "This is not what a terminal says."


class TerminalPages:
    def __init__(self, execs: Execs, tasks: Tasks) -> None:
        self._execs = execs
        self._tasks = tasks
        self._open = 0
        self.routes = [WebSocketRoute("/containers/{task_id}/terminal", self._serve)]

    async def _serve(self, socket: WebSocket) -> None:
        await socket.accept()
        self._open += 1
        try:
            with suppress(WebSocketDisconnect):
                await self._tell_end(socket, await self._run(socket))
        finally:
            self._open -= 1

    async def _run(self, socket: WebSocket) -> str:
        """Returns why it is over, for whoever looks at it. Raises WebSocketDisconnect when nobody does any more."""
        try:
            size = await self._admit(socket)
            session: Session = socket.scope[SESSION]
            task_id = TaskId(socket.path_params["task_id"])
            end = await Shell(self._execs, task_id, session.actor, socket).run(size)
            return end if self._lives(task_id) else _GONE
        except FreeholdError as error:
            return str(error)

    async def _admit(self, socket: WebSocket) -> Terminal:
        if self._open > _MOST:
            msg = f"{_MOST} terminals are open already. Close one."
            raise ResourceExhausted(msg)
        with anyio.move_on_after(_PATIENCE):
            hello = _parsed((await socket.receive()).get("text") or "")
            if is_same(str(hello.get("csrf", "")), socket.scope[SESSION].csrf):
                return _size(hello)
        msg = "This was not asked for by a page of this engine. Load the page again."
        raise PermissionDenied(msg)

    def _lives(self, task_id: TaskId) -> bool:
        live = self._tasks.find(task_id)
        return live is not None and not live.is_stopping

    async def _tell_end(self, socket: WebSocket, words: str) -> None:
        await socket.send_text(json.dumps({"end": words}))
        await socket.close()


class Shell:
    """One shell, for one socket. It is stopped when `run` is left in any way."""

    def __init__(self, execs: Execs, task_id: TaskId, actor: str, socket: WebSocket) -> None:
        self._execs = execs
        self._task_id = task_id
        self._actor = actor
        self._socket = socket
        self._id = f"terminal-{secrets.token_hex(8)}"
        self._shown = self._drawn = self._written = 0  # bytes
        self._room = anyio.Event()
        self._give, self._given = anyio.create_memory_object_stream[bytes](1)
        self._end: str | None = None  # nobody looks any more, and has to be told

    async def run(self, size: Terminal) -> str:
        """Returns why it is over. Raises WebSocketDisconnect."""
        with self._give, self._given:
            await self._execs.start(self._task_id, self._id, Command(argv=_SHELL, terminal=size), self._actor)
            try:
                async with anyio.create_task_group() as group:
                    for work in (self._show, self._listen, self._write, self._look):
                        group.start_soon(self._to_the_end, work, group.cancel_scope)
            finally:
                with suppress(FreeholdError):
                    self._execs.stop(self._task_id, self._id, self._actor)
        if self._end is None:
            raise WebSocketDisconnect
        return self._end

    async def _to_the_end(self, work: Callable[[], Awaitable[str]], scope: anyio.CancelScope) -> None:
        """The first that ends is the end of all."""
        try:
            self._end = await work()
        except FreeholdError as error:
            self._end = str(error)
        except WebSocketDisconnect:
            pass
        scope.cancel()

    async def _show(self) -> str:
        async for chunk in self._execs.read(self._task_id, self._id, Stream.STDOUT, 0):
            while self._shown - self._drawn > _WINDOW:
                self._room = anyio.Event()
                await self._room.wait()
            self._shown += len(chunk)
            await self._socket.send_bytes(chunk)
        return _in_words(await self._execs.wait(self._task_id, self._id))

    async def _listen(self) -> str:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect
            if keys := message.get("bytes"):
                self._take(keys)
            else:
                self._heed(_parsed(message.get("text") or ""))

    def _take(self, keys: bytes) -> None:
        """Whoever sends more before those before were given to the shell is no page of ours."""
        try:
            self._give.send_nowait(keys)
        except anyio.WouldBlock:
            msg = "More was typed than the shell takes."
            raise ResourceExhausted(msg) from None

    def _heed(self, said: Mapping[str, Any]) -> None:
        if "drawn" in said:
            self._drawn = min(_whole(said["drawn"], self._shown), self._shown)
            self._room.set()
        else:
            size = _size(said)
            self._execs.resize(self._task_id, self._id, size.rows, size.columns)

    async def _write(self) -> str:
        """Apart from what else the page says: while the shell takes no keys, it has to be heard on what it has drawn."""
        async for keys in self._given:
            with suppress(FreeholdError):  # it has ended, and `_show` says so
                await self._execs.write(self._task_id, self._id, self._written, keys)
            self._written += len(keys)
            await self._socket.send_text(json.dumps({"written": self._written}))
        raise WebSocketDisconnect

    async def _look(self) -> str:
        """A login that has ended is no longer one for what was opened with it."""
        while self._socket.scope[LASTS]():  # noqa: ASYNC110 — logins end in several ways, and none of them says so
            await anyio.sleep(_LOOK)
        return "The login that it was opened with has ended."


def _in_words(end: ExecEnd) -> str:
    return end.reason or ("The shell has ended." if not end.code else f"The shell has ended with status {end.code}.")


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise InvalidRequest(_NONSENSE)
    return said


def _size(said: Mapping[str, Any]) -> Terminal:
    return Terminal(rows=_whole(said.get("rows"), _MOST_SIDE), columns=_whole(said.get("columns"), _MOST_SIDE))


def _whole(number: object, most: int) -> int:
    if type(number) is not int or not 0 < number <= most:
        raise InvalidRequest(_NONSENSE)
    return number
