"""Commands in running containers: started once for each id, kept readable for a while after their end, and bounded in number."""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskGroup

from freehold.domain.errors import NotFound, ResourceExhausted
from freehold.domain.ids import TaskId
from freehold.wire.execs import Command, ExecEnd, InputStatus, Stream, Terminal
from freehold.worker.execution import Execution, Place
from freehold.worker.streams import Input

log = structlog.get_logger(__name__)

_MOST_PER_CONTAINER = 32  # that run
_MOST = 128  # that run, or have ended and are kept
_KEPT = 120.0  # seconds after the end


Ended = Callable[[TaskId, str, ExecEnd], None]


class Places(Protocol):
    async def place(self, task_id: TaskId) -> Place:
        """Raises NotFound without a container, and Unavailable while it starts."""
        ...


class Execs:
    """Implements `WorkerExecs`. `ended` is told of each end once. Commands are attended to in the group that `open` gives."""

    def __init__(self, *, places: Places, ended: Ended) -> None:
        self._places = places
        self._ended = ended
        self._known: dict[tuple[TaskId, str], Execution] = {}
        self._group: TaskGroup

    def open(self, group: TaskGroup) -> None:
        self._group = group

    async def start(self, task_id: TaskId, exec_id: str, command: Command) -> bool:
        key = task_id, exec_id
        if (known := self._known.get(key)) is not None:
            await known.started()
            return False
        self._make_room(task_id)
        execution = self._known[key] = Execution(command)
        try:
            await execution.start(await self._places.place(task_id))
        except BaseException as error:
            execution.refuse(error)
            del self._known[key]
            raise
        self._group.start_soon(self._attend, key, execution)
        return True

    def read(self, task_id: TaskId, exec_id: str, stream: Stream, offset: int) -> AsyncIterator[bytes]:
        return self._get(task_id, exec_id).outputs[stream].read(offset)

    async def write(self, task_id: TaskId, exec_id: str, offset: int, data: bytes, *, eof: bool = False) -> None:
        await self._input(task_id, exec_id).write(offset, data, eof=eof)

    def input_status(self, task_id: TaskId, exec_id: str) -> InputStatus:
        return self._input(task_id, exec_id).status

    def resize(self, task_id: TaskId, exec_id: str, terminal: Terminal) -> None:
        self._get(task_id, exec_id).resize(terminal)

    def poll(self, task_id: TaskId, exec_id: str) -> ExecEnd | None:
        return self._get(task_id, exec_id).end

    async def wait(self, task_id: TaskId, exec_id: str) -> ExecEnd:
        return await self._get(task_id, exec_id).wait()

    def stop(self, task_id: TaskId, exec_id: str, reason: str) -> None:
        self._get(task_id, exec_id).stop(reason)

    def _get(self, task_id: TaskId, exec_id: str) -> Execution:
        execution = self._known.get((task_id, exec_id))
        if execution is None or not execution.has_started:
            msg = f"No command {exec_id} in container {task_id}: it was not started there, or has ended more than two minutes ago."
            raise NotFound(msg)
        return execution

    def _input(self, task_id: TaskId, exec_id: str) -> Input:
        found = self._get(task_id, exec_id).input
        assert found is not None, "It has started."
        return found

    def _make_room(self, task_id: TaskId) -> None:
        """Those that have ended go first, the oldest of them before the others."""
        running = [key for key, each in self._known.items() if each.end is None]
        if sum(key[0] == task_id for key in running) >= _MOST_PER_CONTAINER:
            msg = f"{_MOST_PER_CONTAINER} commands run in container {task_id} already. End one, or use another container."
            raise ResourceExhausted(msg)
        if len(running) >= _MOST:
            msg = f"{_MOST} commands run in the containers of this machine already. End some, then try again."
            raise ResourceExhausted(msg)
        while len(self._known) >= _MOST:
            del self._known[next(key for key, each in self._known.items() if each.end is not None)]

    async def _attend(self, key: tuple[TaskId, str], execution: Execution) -> None:
        end = await execution.run()
        log.info("exec_ended", task_id=key[0], exec_id=key[1], code=end.code, reason=end.reason)
        self._ended(*key, end)
        await anyio.sleep(_KEPT)
        if self._known.get(key) is execution:
            del self._known[key]
