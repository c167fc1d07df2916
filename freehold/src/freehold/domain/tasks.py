"""Tasks: one running container each, from the wish for it to its exit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from freehold.domain.errors import Conflict
from freehold.domain.ids import AppId, DefinitionId, FunctionId, TaskId


class TaskState(StrEnum):
    PENDING = "pending"  # wanted; no worker has started it
    STARTING = "starting"  # its container exists; it has not asked for inputs yet
    READY = "ready"  # asks for inputs
    DRAINING = "draining"  # gets no new inputs; ends when its own are done
    ENDED = "ended"


LEGAL_MOVES: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.PENDING: frozenset({TaskState.STARTING, TaskState.ENDED}),
    TaskState.STARTING: frozenset({TaskState.READY, TaskState.DRAINING, TaskState.ENDED}),
    TaskState.READY: frozenset({TaskState.DRAINING, TaskState.ENDED}),
    TaskState.DRAINING: frozenset({TaskState.ENDED}),
    TaskState.ENDED: frozenset(),
}


class ExitKind(StrEnum):
    """Why a task ended, as far as its worker can tell."""

    FINISHED = "finished"  # exit status 0
    CRASHED = "crashed"  # non-zero, or a signal nobody sent
    OUT_OF_MEMORY = "out of memory"
    STOPPED = "stopped"  # we asked for it
    NOT_STARTED = "not started"  # the container could not be made
    LOST = "lost"  # the engine or the worker died meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskExit:
    kind: ExitKind
    code: int = 0
    detail: str = ""  # the last lines of its log, or why it could not start


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    id: TaskId
    app_id: AppId
    function_id: FunctionId
    definition_id: DefinitionId
    state: TaskState
    enqueued_at: datetime
    token_hash: str = ""  # SHA-256, hex, of what its container proves its identity with
    started_at: datetime | None = None
    ready_at: datetime | None = None
    ended_at: datetime | None = None
    exit: TaskExit | None = None
    gpus: tuple[int, ...] = ()  # of its machine, by index: its alone while it lives

    @property
    def is_alive(self) -> bool:
        return self.state is not TaskState.ENDED


def move(task: Task, state: TaskState, now: datetime) -> Task:
    """The task in its next state, stamped. Raises Conflict on a move that the table does not have."""
    if state not in LEGAL_MOVES[task.state]:
        msg = f"Task {task.id} is {task.state}; it cannot become {state}."
        raise Conflict(msg)
    match state:
        case TaskState.STARTING:
            return replace(task, state=state, started_at=now)
        case TaskState.READY:
            return replace(task, state=state, ready_at=now)
        case TaskState.ENDED:
            return replace(task, state=state, ended_at=now)
        case _:
            return replace(task, state=state)


def end_lost(task: Task, now: datetime) -> Task:
    """A task whose engine died: nobody saw its end."""
    return replace(move(task, TaskState.ENDED, now), exit=TaskExit(kind=ExitKind.LOST))
