"""How many tasks a function should have, and which to let go: values in, a decision with its reason out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from freehold.domain.functions import AutoscalerSettings, Concurrency
from freehold.domain.ids import TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSample:
    """A task that may still take inputs. `idle_for` is zero while it starts or runs something."""

    id: TaskId
    is_current: bool  # runs the live definition
    is_ready: bool
    running_inputs: int
    idle_for: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSample:
    """One function at one moment."""

    queued: int
    running: int
    tasks: Sequence[TaskSample]
    may_start: bool = True  # False while crash back-off holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    start: int = 0
    drain: tuple[TaskId, ...] = ()
    reason: str = ""


def desired_tasks(settings: AutoscalerSettings, concurrency: Concurrency, sample: PoolSample, ceiling: int) -> int:
    """Enough tasks for the inputs there are, plus the buffer while there are any, within minimum and maximum.

    `ceiling` bounds functions that name no maximum of their own.
    """
    needed = math.ceil((sample.queued + sample.running) / concurrency.target_inputs)
    buffer = settings.buffer_containers if needed else 0
    maximum = settings.max_containers or max(ceiling, settings.min_containers)
    return min(max(needed + buffer, settings.min_containers), maximum)


def decide(settings: AutoscalerSettings, concurrency: Concurrency, sample: PoolSample, ceiling: int) -> Decision:
    """Start what is missing; drain what is outdated, or idle for longer than the scale-down window and not needed."""
    desired = desired_tasks(settings, concurrency, sample, ceiling)
    outdated = [task.id for task in sample.tasks if not task.is_current]
    current = [task for task in sample.tasks if task.id not in outdated]
    missing = desired - len(current)
    if missing > 0:
        start = missing if sample.may_start else 0
        return Decision(start=start, drain=tuple(outdated), reason=_why_start(sample, desired, start))
    idle = _idle(settings, current)[: len(current) - desired]
    return Decision(drain=(*outdated, *idle), reason=_why_drain(outdated, idle))


def _idle(settings: AutoscalerSettings, tasks: Sequence[TaskSample]) -> list[TaskId]:
    """Tasks past the scale-down window, idle for longest first."""
    over = [task for task in tasks if task.is_ready and not task.running_inputs and task.idle_for >= settings.scaledown_window]
    return [task.id for task in sorted(over, key=lambda task: task.idle_for, reverse=True)]


def _why_start(sample: PoolSample, desired: int, start: int) -> str:
    if not start:
        return f"{desired} wanted, held back after crashes"
    return f"{desired} wanted for {sample.queued} queued and {sample.running} running"


def _why_drain(outdated: Sequence[TaskId], idle: Sequence[TaskId]) -> str:
    if outdated:
        return "replaced by a newer version"
    return "idle for longer than its scaledown_window" if idle else ""
