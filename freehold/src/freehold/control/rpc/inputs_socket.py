"""The socket on which containers take inputs and give back results, and call functions: an edge like gRPC's, for what each input costs.

What goes over it is in `freehold.container.frames`. The first frame says which task this is; from then on the connection is that
task's, and a newer one replaces it.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import structlog
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from modal_proto import api_pb2

from freehold.container.frames import (
    ANSWER,
    CANCEL,
    GET_INPUTS,
    HELLO,
    HELLO_CALLS,
    LONGEST,
    PUT_OUTPUTS,
    REFUSED,
    REPORT,
    RPC,
    SERVE,
    FrameTooLong,
    Splitter,
    frame,
    with_contexts,
)
from freehold.control.caller import Caller
from freehold.control.rpc.sockets import open_to_containers, short_path
from freehold.control.services.claims import Claims
from freehold.control.services.lanes import Lanes
from freehold.domain.errors import FreeholdError
from freehold.domain.ids import TaskId
from freehold.domain.seams import Transport
from freehold.wire.greetings import Greeting, read_greeting, read_offer

log = structlog.get_logger()

_GREETING = 10.0  # seconds for a new connection to say whose it is
_LONGEST_GREETING = 256 * 1024  # bytes: ids of all inputs in hand
_MOST_STRANGERS = 64  # connections that have not said it yet; the oldest goes first
_LONG_POLLS = frozenset({GET_INPUTS, SERVE})  # these change nothing while they wait, and end with their connection
_MOST_REQUESTS = 4096  # of one connection under way; a container has one for each input in hand, and one more


class TaskTokens(Protocol):
    def accepts_task(self, task_id: TaskId, token: str) -> bool: ...


class StartReports(Protocol):
    async def report(self, task_id: TaskId, payload: bytes) -> None: ...


class Callers(Protocol):
    def caller(self, rpc: str, metadata: Mapping[str, str]) -> Caller:
        """Who a call comes from. Raises Unauthenticated, and PermissionDenied for what a task may not call."""
        ...


@dataclass(frozen=True, slots=True)
class Rpc:
    """What answers a call over gRPC, too. A long poll changes nothing while it waits, and ends with its connection."""

    handler: Callable[[Any, Caller], Awaitable[Message]]
    request: type[Message]
    is_long_poll: bool = False


# By name: the message that asks, and whether it is a long poll.
_RPCS: Mapping[str, tuple[type[Message], bool]] = {
    "ContainerHello": (Empty, False),
    "ContainerHeartbeat": (api_pb2.ContainerHeartbeatRequest, True),
    "FunctionMap": (api_pb2.FunctionMapRequest, False),
    "FunctionGetOutputs": (api_pb2.FunctionGetOutputsRequest, True),
}


def rpcs_of(*resources: object) -> Mapping[str, Rpc]:
    """Those calls that containers make over the socket, as these answer them."""
    found = {name: next(getattr(each, name) for each in resources if hasattr(each, name)) for name in _RPCS}
    return {name: Rpc(found[name], *_RPCS[name]) for name in _RPCS}


class _BadFrameError(Exception):
    """Nobody of ours sends this: the connection is closed."""


@dataclass(frozen=True, slots=True)
class Behind:
    """What answers the requests, and says whose they are."""

    claims: Claims
    lanes: Lanes
    rpcs: Mapping[str, Rpc]
    tokens: TaskTokens
    callers: Callers
    reports: StartReports


_Role = tuple[TaskId, int]  # a task, and the kind of its greeting


class InputsSocket:
    """All connections, and the work that they have asked for."""

    def __init__(self, behind: Behind, group: asyncio.TaskGroup) -> None:
        self.behind = behind
        self.group = group
        self._strangers: dict[_Connection, None] = {}
        self._of_task: dict[_Role, _Connection] = {}

    def connection(self) -> "_Connection":
        return _Connection(self)

    def admit(self, connection: "_Connection") -> None:
        self._strangers[connection] = None
        if len(self._strangers) > _MOST_STRANGERS:
            next(iter(self._strangers)).close()

    def assign(self, connection: "_Connection", role: "_Role") -> None:
        """The connection is this task's from now on; an older one of the same role is dead, if it does not know that yet."""
        self._strangers.pop(connection, None)
        if (older := self._of_task.get(role)) is not None:
            older.close()
        self._of_task[role] = connection

    def dismiss(self, connection: "_Connection", role: "_Role | None") -> None:
        self._strangers.pop(connection, None)
        if role is not None and self._of_task.get(role) is connection:
            del self._of_task[role]

    def close(self) -> None:
        for connection in (*self._strangers, *self._of_task.values()):
            connection.close()


class _Connection(asyncio.Protocol):
    """One container's connection. Requests run beside each other; what waits for inputs ends with the connection."""

    def __init__(self, server: InputsSocket) -> None:
        self._server = server
        self._behind = server.behind
        self._frames = Splitter(_LONGEST_GREETING)
        self._transport: asyncio.Transport
        self._deadline: asyncio.TimerHandle | None = None
        self._task_id: TaskId | None = None
        self._role: _Role | None = None
        self._token = ""
        self._pending: dict[int, asyncio.Task[None]] = {}
        self._waiting: set[int] = set()
        self._handlers: dict[int, Callable[[TaskId, bytes], Awaitable[bytes]]] = {
            GET_INPUTS: self._get_inputs,
            PUT_OUTPUTS: self._put_outputs,
            REPORT: self._report,
            SERVE: self._serve,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # sockets have no other kind
        self._deadline = asyncio.get_running_loop().call_later(_GREETING, self.close)
        self._server.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._settle()
        self._server.dismiss(self, self._role)
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
        elif kind == RPC:
            self._begin_call(number, payload)
        else:
            self._begin(kind, number, payload)

    def _begin_call(self, number: int, payload: bytes) -> None:
        head, _, request = payload.partition(b"\0")
        name, _, traceparent = head.decode("ascii", "replace").partition(" ")
        if self._handlers or (rpc := self._behind.rpcs.get(name)) is None:
            raise _BadFrameError(name)
        if rpc.is_long_poll:
            self._waiting.add(number)
        self._start(number, partial(self._call, name, rpc, traceparent), request)

    def _begin(self, kind: int, number: int, payload: bytes) -> None:
        handler = self._handlers.get(kind)
        if handler is None:
            raise _BadFrameError(kind)
        if kind in _LONG_POLLS:
            self._waiting.add(number)
        self._start(number, handler, payload)

    def _greet(self, kind: int, number: int, payload: bytes) -> None:
        greeting = read_greeting(payload) if kind in (HELLO, HELLO_CALLS) else None
        if greeting is None:
            raise _BadFrameError(kind)
        self._settle()
        if not self._behind.tokens.accepts_task(greeting.task_id, greeting.token):
            self._send(REFUSED, number, f"Task {greeting.task_id} is not one of this engine's running tasks.".encode())
            self._transport.close()
            return
        self._task_id, self._token, self._role = greeting.task_id, greeting.token, (greeting.task_id, kind)
        self._frames.longest = LONGEST
        self._server.assign(self, self._role)
        if kind == HELLO_CALLS:
            self._handlers = {}
            self._send(ANSWER, number, b"")
        else:
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

    async def _welcome(self, task_id: TaskId, greeting: Greeting) -> bytes:
        self._behind.claims.recover(task_id, greeting.held)
        return b""

    async def _get_inputs(self, task_id: TaskId, payload: bytes) -> bytes:
        request = api_pb2.FunctionGetInputsRequest.FromString(payload)
        response = await self._behind.claims.claim(
            task_id, batch=request.batch_max_size, linger=request.batch_linger_ms / 1000, transport=Transport.OWN
        )
        return with_contexts(response.SerializeToString(), self._behind.claims.contexts(response.inputs))

    async def _put_outputs(self, task_id: TaskId, payload: bytes) -> bytes:
        await self._behind.claims.put_outputs(task_id, list(api_pb2.FunctionPutOutputsRequest.FromString(payload).outputs))
        return b""

    async def _call(self, name: str, rpc: Rpc, traceparent: str, task_id: TaskId, payload: bytes) -> bytes:
        """A task may end while its connection stands, so it is asked for each time who it is."""
        caller = self._behind.callers.caller(name, {"x-task": task_id, "x-task-token": self._token, "traceparent": traceparent})
        return (await rpc.handler(rpc.request.FromString(payload), caller)).SerializeToString()

    async def _report(self, task_id: TaskId, payload: bytes) -> bytes:
        try:
            await self._behind.reports.report(task_id, payload)
        except FreeholdError as error:  # nobody waits for the answer
            log.info("start_report_refused", task_id=task_id, why=str(error))
        return b""

    async def _serve(self, task_id: TaskId, payload: bytes) -> bytes:
        address, why_not = read_offer(payload)
        if why_not:
            self._behind.lanes.fall_back(task_id, why_not)
        else:
            await self._behind.lanes.serve(task_id, address)
        return b""


@asynccontextmanager
async def serve(behind: Behind, path: Path) -> AsyncIterator[None]:
    """Serve at `path` until the block ends."""
    async with asyncio.TaskGroup() as group:
        connections = InputsSocket(behind, group)
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
