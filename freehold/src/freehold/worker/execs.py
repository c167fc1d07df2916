"""Commands in running containers: started once for each id, kept readable for a while after their end, and bounded in number."""

import fcntl
import os
import struct
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskGroup

from freehold.domain.errors import Conflict, FreeholdError, NotFound, ResourceExhausted
from freehold.domain.ids import TaskId
from freehold.wire.execs import Command, Errors, ExecEnd, InputStatus, Stream, Terminal
from freehold.worker.ports import Container, ContainerProcess, ExecSpec, NotExecuted
from freehold.worker.streams import Input, Output, drain, pump

log = structlog.get_logger(__name__)

_MOST_PER_CONTAINER = 32  # that run
_MOST = 128  # that run, or have ended and are kept
_KEPT = 120.0  # seconds after the end
_KILLED = 128 + 9
_SEEN = 1.0  # seconds within which the end of a container is known after those of its processes
_READER = 0.2  # seconds: whoever reads the output asks for it at about the time at which it asks for the end
_TERM = "xterm-256color"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a command runs: a container, and what its function's process has."""

    container: Container
    env: dict[str, str]
    cwd: str


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

    def _get(self, task_id: TaskId, exec_id: str) -> "Execution":
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

    async def _attend(self, key: tuple[TaskId, str], execution: "Execution") -> None:
        end = await execution.run()
        log.info("exec_ended", task_id=key[0], exec_id=key[1], code=end.code, reason=end.reason)
        self._ended(*key, end)
        await anyio.sleep(_KEPT)
        if self._known.get(key) is execution:
            del self._known[key]


class Execution:
    """One command. `start`, then `run` to its end; all else at any time in between and after it."""

    def __init__(self, command: Command) -> None:
        self.outputs = {stream: Output() for stream in Stream}
        self.end: ExecEnd | None = None
        self.input: Input | None = None
        self._command = command
        self._sources: dict[Stream, int] = {}
        self._container: Container
        self._process: ContainerProcess | None = None
        self._terminal: int | None = None
        self._reason = ""  # why it was killed
        self._begun = anyio.Event()
        self._refusal: BaseException | None = None
        self._over = anyio.Event()

    @property
    def has_started(self) -> bool:
        return self._begun.is_set() and self._refusal is None

    async def start(self, place: Place) -> None:
        """Raises FreeholdError when there is no such process, and not because of the program."""
        self._container = place.container
        with ExitStack() as theirs:
            spec = self._spec(place, theirs)
            try:
                self._process = await place.container.execute(spec)
            except NotExecuted as error:
                await self._refuse_program(error)
        if self._process is not None and (terminal := self._process.terminal) is not None:
            self._use_terminal(terminal)
        self._begun.set()

    def refuse(self, error: BaseException) -> None:
        """It could not be started: who asks for it again while that is found out is told so too."""
        self._refusal = error
        self._close_ends()
        self._begun.set()

    async def started(self) -> None:
        await self._begun.wait()
        if self._refusal is not None:
            raise self._refusal if isinstance(self._refusal, FreeholdError) else Conflict("It could not be started.")

    async def run(self) -> ExecEnd:
        """Returns at its end, when all of its output is there to be read."""
        if self._process is not None:
            async with anyio.create_task_group() as group:
                for stream, source in self._sources.items():
                    group.start_soon(pump, source, self.outputs[stream])
                group.start_soon(self._end_in_time)
                code = await self._process.wait()
                group.cancel_scope.cancel()
            self._process = None
            self._close(ExecEnd(code=code, reason=self._reason or await self._why(code)))
        assert self.end is not None
        return self.end

    async def wait(self) -> ExecEnd:
        await self._over.wait()
        assert self.end is not None
        if not any(output.readers for output in self.outputs.values()):
            await anyio.sleep(_READER)
        for output in self.outputs.values():
            await output.taken()
        return self.end

    def stop(self, reason: str) -> None:
        if self._process is not None:
            self._reason = self._reason or reason
            self._process.kill()

    def resize(self, terminal: Terminal) -> None:
        if self._terminal is not None:
            size = struct.pack("HHHH", terminal.rows, terminal.columns, 0, 0)
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    def _spec(self, place: Place, theirs: ExitStack) -> ExecSpec:
        """What to run; its ends of what joins it with us are closed with `theirs`."""
        command = self._command
        env = {**place.env, **({"TERM": _TERM} if command.terminal else {}), **command.env}
        spec = ExecSpec(argv=command.argv, env=env, cwd=command.workdir or place.cwd, terminal=command.terminal)
        if command.terminal:
            return spec
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        theirs.callback(os.close, null)
        stdin, ours = os.pipe()
        theirs.callback(os.close, stdin)
        self.input = Input(ours, is_terminal=False)
        stdout = self._collect(Stream.STDOUT, theirs) if command.keeps_output else null
        stderr = {Errors.DROPPED: null, Errors.JOINED: stdout}.get(command.errors)
        return ExecSpec(
            argv=spec.argv,
            env=env,
            cwd=spec.cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=self._collect(Stream.STDERR, theirs) if stderr is None else stderr,
        )

    def _collect(self, stream: Stream, theirs: ExitStack) -> int:
        ours, writing = os.pipe()
        os.set_blocking(ours, False)
        self._sources[stream] = ours
        theirs.callback(os.close, writing)
        return writing

    def _use_terminal(self, terminal: int) -> None:
        os.set_blocking(terminal, False)
        self._terminal = self._sources[Stream.STDOUT] = terminal
        self.input = Input(os.dup(terminal), is_terminal=True)
        self.outputs[Stream.STDERR].finish()

    async def _refuse_program(self, error: NotExecuted) -> None:
        """As a shell says it; unless it is the container that is not there any more."""
        with anyio.move_on_after(_SEEN if "stopped" in str(error) else 0):
            await self._container.wait()
            msg = "The container has ended."
            raise NotFound(msg)
        if self._command.terminal:
            self._use_terminal(os.open(os.devnull, os.O_RDWR))
        self._say(str(error))
        self._close(ExecEnd(code=error.code))

    async def _end_in_time(self) -> None:
        if self._command.timeout:
            await anyio.sleep(self._command.timeout)
            self.stop(f"It ran longer than its timeout of {self._command.timeout:g} s.")

    async def _why(self, code: int) -> str:
        """A command that was killed may have ended with its container, whose end is seen a little later."""
        if code == _KILLED:
            with anyio.move_on_after(_SEEN):
                await self._container.wait()
                return "Its container has ended."
        return ""

    def _close(self, end: ExecEnd) -> None:
        for stream, source in self._sources.items():
            drain(source, self.outputs[stream])
        self._close_ends()
        if end.reason:
            self._say(end.reason)
        for output in self.outputs.values():
            output.finish()
        self.end = end
        self._over.set()

    def _close_ends(self) -> None:
        for source in self._sources.values():
            os.close(source)
        self._sources.clear()
        self._terminal = None
        if self.input is not None:
            self.input.close()

    def _say(self, words: str) -> None:
        """To whoever looks at its terminal or its error output; not into what a program reads."""
        if self._command.terminal:
            self.outputs[Stream.STDOUT].append(f"freehold: {words}\r\n".encode())
        elif self._command.errors is Errors.KEPT:
            self.outputs[Stream.STDERR].append(f"freehold: {words}\n".encode())
