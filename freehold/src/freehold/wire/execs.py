"""Commands in running containers: what a control plane asks of the worker that has the container, and what it is told."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from freehold.domain.ids import TaskId


class Stream(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"


class Errors(StrEnum):
    """What becomes of a command's error output."""

    KEPT = "kept"
    DROPPED = "dropped"
    JOINED = "joined"  # with its other output, in the order in which both were written


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    rows: int = 24
    columns: int = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program and its arguments, found on the container's PATH. `env` holds secrets: it is never logged and never part of a repr.

    It sees what the function of the container sees: files, environment, processes, limits. With a `terminal` it has that for its input
    and all of its output, which then is its standard output.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False, default_factory=dict)  # over the function's
    workdir: str = ""  # empty: the function's
    timeout: float | None = None  # seconds, after which it is killed
    terminal: Terminal | None = None
    keeps_output: bool = True
    errors: Errors = Errors.KEPT


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecEnd:
    """How a command ended: exit status, or 128 + signal, as shells tell it. `reason` is set where it did not end by itself."""

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputStatus:
    """How many bytes of its input a command was given by now, and whether that was all."""

    written: int
    is_closed: bool


class WorkerExecs(Protocol):
    """Commands by the id that whoever starts one has chosen. All of it may be repeated, as by a client that lost its connection.

    Output is read by offset: bytes from the beginning of its stream. A command that nobody reads from is blocked when it has written
    some of it, as by a pipe; what was read lately can be read again. After its end, and that of its container, a command is kept for two
    minutes. Every method but `start` raises NotFound for one that was not started, or is kept no longer.
    """

    async def start(self, task_id: TaskId, exec_id: str, command: Command) -> bool:
        """Returns when it runs; False, and nothing is changed, for an id that is known already. A program that cannot be executed
        ends with status 126 or 127, the reason in its error output. Raises NotFound without such a container, Unavailable while that starts or is taken over, ResourceExhausted.
        """
        ...

    def read(self, task_id: TaskId, exec_id: str, stream: Stream, offset: int) -> AsyncIterator[bytes]:
        """Bytes from there on as they come, to the end of the stream; never empty. Raises Conflict when they are kept no longer."""
        ...

    async def write(self, task_id: TaskId, exec_id: str, offset: int, data: bytes, *, eof: bool = False) -> None:
        """Give it input; returns when it was taken. What of it was written before is not written twice; `eof` closes it after that. Raises
        Conflict for a gap, and when nobody can read it any more.
        """
        ...

    def input_status(self, task_id: TaskId, exec_id: str) -> InputStatus: ...

    def resize(self, task_id: TaskId, exec_id: str, terminal: Terminal) -> None:
        """Of one that has a terminal; nothing happens to others, or after the end."""
        ...

    def poll(self, task_id: TaskId, exec_id: str) -> ExecEnd | None:
        """None while it runs."""
        ...

    async def wait(self, task_id: TaskId, exec_id: str) -> ExecEnd:
        """Also after the end. Whoever reads the output at that time has been given all of it before this returns."""
        ...

    def stop(self, task_id: TaskId, exec_id: str, reason: str) -> None:
        """Kill it, with the processes that it has started and that did not leave its group."""
        ...
