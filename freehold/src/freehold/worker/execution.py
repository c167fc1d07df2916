"""One command in a container: its process, what goes in and comes out, and how it ends."""

import fcntl
import os
import struct
import termios
from contextlib import ExitStack
from dataclasses import dataclass, replace

import anyio

from freehold.domain.errors import Conflict, FreeholdError, NotFound
from freehold.wire.execs import Command, Errors, ExecEnd, Stream, Terminal
from freehold.worker.ports import Container, ContainerProcess, ExecSpec, NotExecuted
from freehold.worker.streams import Input, Output, drain, pump

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
        if any(output.is_unread for output in self.outputs.values()):
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
        return spec if command.terminal else self._with_pipes(spec, theirs)

    def _with_pipes(self, spec: ExecSpec, theirs: ExitStack) -> ExecSpec:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        theirs.callback(os.close, null)
        stdin, ours = os.pipe()
        theirs.callback(os.close, stdin)
        self.input = Input(ours, is_terminal=False)
        stdout = self._collect(Stream.STDOUT, theirs) if self._command.keeps_output else null
        stderr = {Errors.DROPPED: null, Errors.JOINED: stdout}.get(self._command.errors)
        return replace(spec, stdin=stdin, stdout=stdout, stderr=self._collect(Stream.STDERR, theirs) if stderr is None else stderr)

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
