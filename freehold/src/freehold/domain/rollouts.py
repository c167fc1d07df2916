"""How tasks of an earlier definition give way to those of the live one: one for one, and never before there is a successor.

A task that is ready goes on taking inputs until a task of the live definition is ready in its place, so that no input waits for a start
while something could run it. If the live definition cannot start at all, the earlier one goes on serving.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from freehold.domain.ids import TaskId

_NONE = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSample:
    """A task that may still take inputs. `idle_for` is zero while it starts or runs something."""

    id: TaskId
    is_current: bool  # runs the live definition
    is_ready: bool
    running_inputs: int
    idle_for: timedelta = _NONE


def successors(outdated: Sequence[TaskSample]) -> int:
    """How many tasks of the live definition there should be whatever the load: what was warm stays warm."""
    return 1 if any(task.is_ready for task in outdated) else 0


def to_drain(outdated: Sequence[TaskSample], current: Sequence[TaskSample], *, desired: int) -> tuple[TaskId, ...]:
    """The outdated tasks to let go now, idle ones first; `desired` tasks are needed. One that is not ready serves nobody."""
    ready = _idle_first(outdated)
    successors_ready = sum(task.is_ready for task in current)
    kept = max(desired - successors_ready, 0 if successors_ready else 1)
    leaving = ready[: max(len(ready) - kept, 0)]
    return (*(task.id for task in outdated if not task.is_ready), *(task.id for task in leaving))


def gives_way(outdated: Sequence[TaskSample], *, others: int) -> TaskId | None:
    """The outdated task to let go where a first successor finds no place on the machine; `others` run the live definition already."""
    ready = _idle_first(outdated)
    return ready[0].id if ready and not others else None


def _idle_first(tasks: Sequence[TaskSample]) -> list[TaskSample]:
    return sorted((task for task in tasks if task.is_ready), key=lambda task: task.running_inputs)
