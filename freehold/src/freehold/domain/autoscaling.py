"""How many tasks a function should have, and which to let go: values in, a decision with its reasons and numbers out.

Up: at once. Down: a task has been idle for its function's scaledown_window first, and then only half of those that are not needed
leave at a time (or `scaledown_rate_limit` of them), with a quarter of the window between, so that a pause between two bursts does
not cost all of them. Of sixteen that fell idle together the last leaves after twice the window.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from freehold.domain import rollouts
from freehold.domain.functions import AutoscalerSettings, Concurrency
from freehold.domain.ids import TaskId
from freehold.domain.rollouts import TaskSample

_LONG_AGO = timedelta(days=365)
_PACES_PER_WINDOW = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSample:
    """One function at one moment."""

    queued: int
    running: int  # on these tasks
    tasks: Sequence[TaskSample]
    may_start: bool = True  # False while crash back-off holds
    short_for: timedelta = _LONG_AGO  # since when it has needed more tasks than it has
    released: timedelta = _LONG_AGO  # how long ago tasks that were not needed were last let go


class Verdict(StrEnum):
    """What a decision comes to, in one word; the reason says it in a sentence."""

    ENOUGH = "enough"
    START = "start"
    HELD_BACK = "held back"  # after crashes
    NOT_YET = "not yet"  # until scaleup_window is over
    RELEASE = "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A task to let go: it finishes what it runs, takes nothing more and ends."""

    task_id: TaskId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    verdict: Verdict = Verdict.ENOUGH
    wanted: int = 0
    start: int = 0
    release: tuple[Release, ...] = ()
    reason: str = ""
    numbers: Mapping[str, int] = field(default_factory=dict)


def needed_tasks(settings: AutoscalerSettings, concurrency: Concurrency, inputs: int) -> int:
    """Enough for so many inputs, whatever the bounds."""
    return math.ceil(inputs / (settings.target_concurrency or concurrency.target_inputs))


def maximum_tasks(settings: AutoscalerSettings, ceiling: int) -> int:
    """`ceiling` bounds functions that name no maximum of their own."""
    return settings.max_containers or max(ceiling, settings.min_containers)


def desired_tasks(settings: AutoscalerSettings, concurrency: Concurrency, sample: PoolSample, ceiling: int) -> int:
    """Enough tasks for the inputs there are, plus the buffer while there are any, within minimum and maximum."""
    needed = needed_tasks(settings, concurrency, sample.queued + sample.running)
    buffer = settings.buffer_containers if needed else 0
    return min(max(needed + buffer, settings.min_containers), maximum_tasks(settings, ceiling))


def pace_of(settings: AutoscalerSettings) -> timedelta:
    """The time between two groups of tasks that are let go."""
    return settings.scaledown_window / _PACES_PER_WINDOW


def decide(settings: AutoscalerSettings, concurrency: Concurrency, sample: PoolSample, ceiling: int) -> Decision:
    """Start what is missing; let go what is outdated and replaced, above the maximum, or idle for too long and not needed."""
    current, outdated = _by_definition(sample.tasks)
    desired = max(desired_tasks(settings, concurrency, sample, ceiling), rollouts.successors(outdated))
    replaced = _replaced(outdated, current, desired)
    numbers = _numbers(settings, sample, desired, current)
    missing = desired - len(current)
    if missing > 0:
        verdict, reason = _start(settings, sample, desired, current)
        start = missing if verdict is Verdict.START else 0
        return Decision(verdict=verdict, wanted=desired, start=start, release=replaced, reason=reason, numbers=numbers)
    release = (*replaced, *_release(settings, sample, current, desired, maximum_tasks(settings, ceiling)))
    verdict = Verdict.RELEASE if release else Verdict.ENOUGH
    reason = release[0].reason if release else _why_enough(sample, desired, len(current))
    return Decision(verdict=verdict, wanted=desired, release=release, reason=reason, numbers=numbers)


def _by_definition(tasks: Sequence[TaskSample]) -> tuple[list[TaskSample], list[TaskSample]]:
    """Tasks of the live definition, and the others."""
    return [task for task in tasks if task.is_current], [task for task in tasks if not task.is_current]


def _replaced(outdated: Sequence[TaskSample], current: Sequence[TaskSample], desired: int) -> tuple[Release, ...]:
    leaving = rollouts.to_drain(outdated, current, desired=desired)
    return tuple(Release(task_id=task_id, reason="replaced by a newer version") for task_id in leaving)


def _start(settings: AutoscalerSettings, sample: PoolSample, desired: int, current: Sequence[TaskSample]) -> tuple[Verdict, str]:
    """The first task, and those that the minimum asks for, wait for no window: nobody else would serve."""
    if not sample.may_start:
        return Verdict.HELD_BACK, f"{desired} wanted, held back after crashes"
    if current and len(current) >= settings.min_containers and sample.short_for < settings.scaleup_window:
        return Verdict.NOT_YET, f"{desired} wanted, but not yet for the scaleup_window of {_seconds(settings.scaleup_window)}"
    return Verdict.START, _why_start(settings, sample, desired)


def _release(settings: AutoscalerSettings, sample: PoolSample, current: Sequence[TaskSample], desired: int, maximum: int) -> list[Release]:
    excess = _least_busy(current)[: len(current) - maximum] if len(current) > maximum else []
    above = [Release(task_id=task.id, reason=f"more than max_containers={maximum}") for task in excess]
    spare = len(current) - len(excess) - desired
    if spare <= 0 or sample.released < pace_of(settings):
        return above
    gone = {release.task_id for release in above}
    idle = _idle_for_long(settings, [task for task in current if task.id not in gone])
    at_a_time = settings.scaledown_rate_limit or math.ceil(spare / 2)
    why = f"idle for its scaledown_window of {_seconds(settings.scaledown_window)}"
    return above + [Release(task_id=task.id, reason=why) for task in idle[: min(spare, at_a_time)]]


def _least_busy(tasks: Sequence[TaskSample]) -> list[TaskSample]:
    """First those that run nothing and never did, then the longest idle, last the busiest."""
    return sorted(tasks, key=lambda task: (task.is_ready, task.running_inputs, -task.idle_for))


def _idle_for_long(settings: AutoscalerSettings, tasks: Sequence[TaskSample]) -> list[TaskSample]:
    """Tasks past the scale-down window, idle for longest first."""
    over = [task for task in tasks if task.is_ready and not task.running_inputs and task.idle_for >= settings.scaledown_window]
    return sorted(over, key=lambda task: task.idle_for, reverse=True)


def _numbers(settings: AutoscalerSettings, sample: PoolSample, desired: int, current: Sequence[TaskSample]) -> dict[str, int]:
    return {
        "wanted": desired,
        "tasks": len(current),
        "queued": sample.queued,
        "running": sample.running,
        "min_containers": settings.min_containers,
        "max_containers": settings.max_containers or 0,
        "buffer_containers": settings.buffer_containers,
    }


def _why_start(settings: AutoscalerSettings, sample: PoolSample, desired: int) -> str:
    if not sample.queued + sample.running:
        return f"min_containers={settings.min_containers}" if settings.min_containers else "in the place of an older version"
    return f"{desired} wanted for {sample.queued} queued and {sample.running} running"


def _why_enough(sample: PoolSample, desired: int, tasks: int) -> str:
    return f"{desired} wanted for {sample.queued} queued and {sample.running} running, {tasks} there"


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():g} s"
