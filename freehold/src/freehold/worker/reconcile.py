"""What a worker does next: a pure comparison of the tasks that should run with those that it knows."""

from collections.abc import Collection, Mapping
from enum import Enum, auto

from freehold.domain.ids import TaskId


class Phase(Enum):
    """Where a task is in its life on this worker."""

    ALIVE = auto()  # from the first step of its start to its exit
    STOPPING = auto()  # asked to end
    ENDED = auto()  # remembered for as long as it is still desired: a task runs once


def reconcile(desired: Collection[TaskId], actual: Mapping[TaskId, Phase]) -> tuple[list[TaskId], list[TaskId]]:
    """The tasks to start and those to stop, in the order in which they were given."""
    to_start = [task_id for task_id in desired if task_id not in actual]
    to_stop = [task_id for task_id, phase in actual.items() if phase is Phase.ALIVE and task_id not in desired]
    return to_start, to_stop
