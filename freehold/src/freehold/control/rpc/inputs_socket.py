"""The socket on which containers take inputs and give back results: an edge like gRPC's, for the two calls that each input costs.

What goes over it is in `freehold.container.frames`. The first frame says which task this is; from then on the connection is that
task's, and a newer one replaces it.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog
from google.protobuf.message import DecodeError
from modal_proto import api_pb2

from freehold.container.frames import (
    ANSWER,
    CANCEL,
    GET_INPUTS,
    HELLO,
    LONGEST,
    PUT_OUTPUTS,
    REFUSED,
    REPORT,
    SERVE,
    FrameTooLong,
    Splitter,
    frame,
)
from freehold.control.rpc.sockets import open_to_containers, short_path
from freehold.control.services.claims import Claims
from freehold.control.services.lanes import Lanes
from freehold.domain.errors import FreeholdError, InvalidRequest
from freehold.domain.ids import InputId, TaskId
from freehold.domain.seams import Transport

log = structlog.get_logger()

_GREETING = 10.0  # seconds for a new connection to say whose it is
_LONGEST_GREETING = 256 * 1024  # bytes: ids of all inputs in hand
_LONGEST_WORDS = 1000  # characters
_MOST_STRANGERS = 64  # connections that have not said it yet; the oldest goes first
_MOST_REQUESTS = 4096  # of one connection under way; a container has one for each input in hand, and one more


class TaskTokens(Protocol):
    def accepts_task(self, task_id: TaskId, token: str) -> bool: ...


class StartReports(Protocol):
    async def report(self, task_id: TaskId, payload: bytes) -> None: ...


class _BadFrameError(Exception):
    """Nobody of ours sends this: the connection is closed."""


class InputsSocket:
    """All connections, and the work that they have asked for."""

    def __init__(self, claims: Claims, lanes: Lanes, tokens: TaskTokens, reports: StartReports, group: asyncio.TaskGroup) -> None:
        self.claims = claims
        self.lanes = lanes
        self.tokens = tokens
        self.reports = reports
        self.group = group
        self._strangers: dict[_Connection, None] = {}
        self._of_task: dict[TaskId, _Connection] = {}

    def connection(self) -> "_Connection":
        return _Connection(self)

    def admit(self, connection: "_Connection") -> None:
        self._strangers[connection] = None
        if len(self._strangers) > _MOST_STRANGERS:
            next(iter(self._strangers)).close()

    def assign(self, connection: "_Connection", task_id: TaskId) -> None:
        """The connection is this task's from now on; an older one of the same task is dead, if it does not know that yet."""
        self._strangers.pop(connection, None)
        if (older := self._of_task.get(task_id)) is not None:
            older.close()
        self._of_task[task_id] = connection

    def dismiss(self, connection: "_Connection", task_id: TaskId | None) -> None:
        self._strangers.pop(connection, None)
        if task_id is not None and self._of_task.get(task_id) is connection:
            del self._of_task[task_id]

    def close(self) -> None:
        for connection in (*self._strangers, *self._of_task.values()):
            connection.close()


class _Connection(asyncio.Protocol):
    """One container's connection. Requests run beside each other; what waits for inputs ends with the connection."""

    def __init__(self, server: InputsSocket) -> None:
        self._server = server
        self._frames = Splitter(_LONGEST_GREETING)
        self._transport: asyncio.Transport
        self._deadline: asyncio.TimerHandle | None = None
        self._task_id: TaskId | None = None
        self._pending: dict[int, asyncio.Task[None]] = {}
        self._waiting: set[int] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # sockets have no other kind
        self._deadline = asyncio.get_running_loop().call_later(_GREETING, self.close)
        self._server.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._settle()
        self._server.dismiss(self, self._task_id)
        self._stop_waiting()

    def close(self) -> None:
        """At once, and nothing is taken for it any more."""
        self._stop_waiting()
        self._transport.abort()

    def _stop_waiting(self) -> None:
        for number in list(self._waiting):
            self._cancel(number)

    def _cancel(self, number: int) -> None:
        if number in self._waiting and (task := self._end(number)) is not None:
            task.cancel()

    # A container that does not read its answers is not read either.

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        try:
            for kind, number, payload in self._frames.feed(data):
                self._take(kind, number, payload)
        except (_BadFrameError, FrameTooLong) as error:
            log.warning("inputs_connection_closed", task_id=self._task_id, why=repr(error))
            self.close()

    def _take(self, kind: int, number: int, payload: bytes) -> None:
        if self._transport.is_closing():
            return
        if self._task_id is None:
            self._greet(kind, number, payload)
        elif kind == CANCEL:
            self._cancel(number)
        elif number in self._pending or len(self._pending) >= _MOST_REQUESTS:
            raise _BadFrameError(number)
        elif kind == GET_INPUTS:
            self._waiting.add(number)
            self._start(number, self._get_inputs, payload)
        elif kind == PUT_OUTPUTS:
            self._start(number, self._put_outputs, payload)
        elif kind == REPORT:
            self._start(number, self._report, payload)
        elif kind == SERVE:
            self._waiting.add(number)
            self._start(number, self._serve, payload)
        else:
            raise _BadFrameError(kind)

    def _greet(self, kind: int, number: int, payload: bytes) -> None:
        greeting = _greeting(payload) if kind == HELLO else None
        if greeting is None:
            raise _BadFrameError(kind)
        self._settle()
        if not self._server.tokens.accepts_task(greeting.task_id, greeting.token):
            self._send(REFUSED, number, f"Task {greeting.task_id} is not one of this engine's running tasks.".encode())
            self._transport.close()
            return
        self._task_id = greeting.task_id
        self._frames.longest = LONGEST
        self._server.assign(self, greeting.task_id)
        self._start(number, self._welcome, greeting)

    def _settle(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def _start(self, number: int, handler: Callable[[TaskId, Any], Awaitable[bytes]], request: Any) -> None:
        self._pending[number] = self._server.group.create_task(self._answer(number, handler, request))

    async def _answer(self, number: int, handler: Callable[[TaskId, Any], Awaitable[bytes]], request: Any) -> None:
        assert self._task_id is not None
        try:
            kind, payload = ANSWER, await handler(self._task_id, request)
        except (FreeholdError, DecodeError) as error:
            kind, payload = REFUSED, str(error).encode()
        except Exception:  # the edge: the container asks again over gRPC, and is told there
            log.exception("inputs_request_failed", task_id=self._task_id)
            kind, payload = REFUSED, b"It failed inside the engine; its log has the details."
        finally:
            self._end(number)
        self._send(kind, number, payload)

    def _end(self, number: int) -> "asyncio.Task[None] | None":
        self._waiting.discard(number)
        return self._pending.pop(number, None)

    def _send(self, kind: int, number: int, payload: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(frame(kind, number, payload))

    async def _welcome(self, task_id: TaskId, greeting: "_Greeting") -> bytes:
        self._server.claims.recover(task_id, greeting.held)
        return b""

    async def _get_inputs(self, task_id: TaskId, payload: bytes) -> bytes:
        request = api_pb2.FunctionGetInputsRequest.FromString(payload)
        response = await self._server.claims.claim(
            task_id, batch=request.batch_max_size, linger=request.batch_linger_ms / 1000, transport=Transport.OWN
        )
        return response.SerializeToString()

    async def _put_outputs(self, task_id: TaskId, payload: bytes) -> bytes:
        await self._server.claims.put_outputs(task_id, list(api_pb2.FunctionPutOutputsRequest.FromString(payload).outputs))
        return b""

    async def _report(self, task_id: TaskId, payload: bytes) -> bytes:
        try:
            await self._server.reports.report(task_id, payload)
        except FreeholdError as error:  # nobody waits for the answer
            log.info("start_report_refused", task_id=task_id, why=str(error))
        return b""

    async def _serve(self, task_id: TaskId, payload: bytes) -> bytes:
        address, why_not = _offer(payload)
        if why_not:
            self._server.lanes.fall_back(task_id, why_not)
        else:
            await self._server.lanes.serve(task_id, address)
        return b""


@dataclass(frozen=True, slots=True)
class _Greeting:
    task_id: TaskId
    token: str
    held: Mapping[InputId, int]  # attempts of the inputs that the container has in hand


def _greeting(payload: bytes) -> _Greeting | None:
    try:
        said = json.loads(payload)
        return _Greeting(TaskId(str(said["task"])), str(said["token"]), {InputId(name): int(said["held"][name]) for name in said["held"]})
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _offer(payload: bytes) -> tuple[str, str]:
    """Where the container listens, or why it serves no web requests itself."""
    try:
        said = json.loads(payload)
        return str(said["address"])[:_LONGEST_WORDS], str(said["why_not"])[:_LONGEST_WORDS]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRequest(repr(error)) from error


@asynccontextmanager
async def serve(claims: Claims, lanes: Lanes, tokens: TaskTokens, reports: StartReports, path: Path) -> AsyncIterator[None]:
    """Serve at `path` until the block ends."""
    async with asyncio.TaskGroup() as group:
        connections = InputsSocket(claims, lanes, tokens, reports, group)
        server = await asyncio.get_running_loop().create_unix_server(connections.connection, sock=_bound(path))
        try:
            yield
        finally:
            server.close()
            connections.close()


def _bound(path: Path) -> socket.socket:
    with short_path(path) as address:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(address)
    open_to_containers(path)
    return listening
