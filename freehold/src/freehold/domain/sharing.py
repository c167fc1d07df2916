"""Which functions get the room there is, and who makes room for one that has none: values in, grants and releases out.

Tasks are granted one by one, each to the function with the largest weight: how long its oldest input has waited, divided by the tasks
that it has. So a function without a task comes first, and one with many is behind one with few that waits as long. When nothing is left
for a function that has inputs and no task, another one gives a task up: at once if that is idle and above its min_containers, after a
while if it is busy (it finishes its inputs first), and in the end even a function's only one, so that functions take turns. A function
that has tasks, and too few, gets what others have left idle.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from freehold.domain.autoscaling import Release
from freehold.domain.ids import FunctionId, TaskId
from freehold.domain.placement import NOTHING, Amounts, Booking, Fleet, Machine, NoPlace, Placement, fits

_NONE = timedelta(0)
_LEFT_IDLE = timedelta(seconds=2)  # between two inputs that follow each other a task is idle for milliseconds
_WAIT_FOR_A_BUSY_ONE = timedelta(seconds=1)  # a busy task may fall idle sooner than a new one starts
_WAIT_FOR_THE_ONLY_ONE = timedelta(seconds=10)  # a turn: long enough to be worth the start


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A function that wants more tasks. `waited` is zero when no input waits (min_containers)."""

    function_id: FunctionId
    booking: Booking
    start: int
    tasks: int  # that it has
    waited: timedelta = _NONE
    is_waiting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A task that holds room on a machine. `idle_for` is None while it starts or runs something."""

    task_id: TaskId
    function_id: FunctionId
    machine_id: str
    amounts: Amounts
    idle_for: timedelta | None
    is_leaving: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    function_id: FunctionId
    placement: Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """What a function wants and does not get now, and why."""

    wish: Wish
    missing: int
    granted: int
    no_place: NoPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A function that holds tasks: how many it has, and must keep."""

    tasks: int
    min_containers: int


def share_out(wishes: Sequence[Wish], fleet: Fleet) -> tuple[list[Grant], list[Shortage]]:
    """Grants in the order in which they were given, booked in the fleet, and what nobody could give."""
    queue = [(-_weight(wish, 0), number, 0) for number, wish in enumerate(wishes) if wish.start]
    heapq.heapify(queue)
    grants: list[Grant] = []
    shortages: list[Shortage] = []
    while queue:
        _, number, granted = heapq.heappop(queue)
        wish = wishes[number]
        match fleet.choose(wish.booking):
            case Placement() as placement:
                fleet.book(placement.machine_id, placement.amounts)
                grants.append(Grant(function_id=wish.function_id, placement=placement))
                if granted + 1 < wish.start:
                    heapq.heappush(queue, (-_weight(wish, granted + 1), number, granted + 1))
            case NoPlace() as no_place:
                shortages.append(Shortage(wish=wish, missing=wish.start - granted, granted=granted, no_place=no_place))
    return grants, shortages


def make_room(
    shortages: Iterable[Shortage], holders: Sequence[Holder], owners: dict[FunctionId, Owner], fleet: Fleet
) -> list[tuple[FunctionId, Release]]:
    """For each function that waits: tasks of others to let go, with the function that they go for.

    Room that becomes free by tasks which leave already is counted, so that nobody goes twice for the same wish.
    """
    leaving = _by_machine(holder for holder in holders if holder.is_leaving)
    able = sorted((holder for holder in holders if not holder.is_leaving), key=lambda holder: _order(holder, owners))
    hopeless: set[tuple[Booking, bool]] = set()  # nobody who has waited less finds what these did not
    found: list[tuple[FunctionId, Release]] = []
    for shortage in sorted(shortages, key=lambda shortage: shortage.wish.waited, reverse=True):
        wish = shortage.wish
        if not wish.is_waiting:
            continue
        if (found_room := _first_with_room(fleet, leaving, wish.booking)) is not None:
            machine_id, amounts = found_room
            leaving[machine_id] = leaving.get(machine_id, NOTHING).minus(amounts)
            continue
        has_some = wish.tasks + shortage.granted > 0
        if (wish.booking, has_some) in hopeless:
            continue
        victims = _victims(wish, able, owners, fleet, leaving, has_some=has_some)
        if not victims:
            hopeless.add((wish.booking, has_some))
        for holder in victims:
            able.remove(holder)
            owner = owners[holder.function_id]
            owners[holder.function_id] = Owner(tasks=owner.tasks - 1, min_containers=owner.min_containers)
            leaving[holder.machine_id] = leaving.get(holder.machine_id, NOTHING).plus(holder.amounts)
            found.append((wish.function_id, Release(task_id=holder.task_id, reason=_why(wish, holder))))
        if victims:
            machine_id = victims[0].machine_id
            leaving[machine_id] = leaving[machine_id].minus(fits(fleet.get(machine_id), wish.booking, leaving[machine_id]) or NOTHING)
    return found


def _weight(wish: Wish, granted: int) -> float:
    """A function that waits comes before one that only wants its minimum, and one without a task before all others."""
    tasks = wish.tasks + granted
    waited = wish.waited.total_seconds() + 0.001 if wish.is_waiting else 0.0
    return waited / tasks if tasks else waited * 1e9


def _by_machine(holders: Iterable[Holder]) -> dict[str, Amounts]:
    found: dict[str, Amounts] = {}
    for holder in holders:
        found[holder.machine_id] = found.get(holder.machine_id, NOTHING).plus(holder.amounts)
    return found


def _first_with_room(fleet: Fleet, freed: dict[str, Amounts], booking: Booking) -> tuple[str, Amounts] | None:
    """A machine, and what would be booked there."""
    for machine_id, freed_there in freed.items():
        if (amounts := fits(fleet.get(machine_id), booking, freed_there)) is not None:
            return machine_id, amounts
    return None


def _helps(holder: Holder, machine: Machine, freed: Amounts, booking: Booking) -> bool:
    """Whether it holds any of what is short: one that has no GPU makes no room for one that wants nothing else."""
    free = machine.free.plus(freed)
    return any(holder.amounts.eases(amounts.minus(free)) for amounts in machine.ways(booking))


def _victims(
    wish: Wish, able: Sequence[Holder], owners: dict[FunctionId, Owner], fleet: Fleet, leaving: dict[str, Amounts], *, has_some: bool
) -> list[Holder]:
    """The tasks of one machine whose end makes room; `able` is in the order in which they may be taken. None if no machine can."""
    chosen: dict[str, list[Holder]] = {}
    freed = dict(leaving)
    taken: dict[FunctionId, int] = {}
    for holder in able:
        if holder.function_id == wish.function_id:
            continue
        owner, gone = owners[holder.function_id], taken.get(holder.function_id, 0)
        if not _may_go(wish, holder, owner.tasks - gone, owner.min_containers, has_some=has_some):
            continue
        machine, free_then = fleet.get(holder.machine_id), freed.get(holder.machine_id, NOTHING)
        if not _helps(holder, machine, free_then, wish.booking):
            continue
        taken[holder.function_id] = gone + 1
        chosen.setdefault(holder.machine_id, []).append(holder)
        freed[holder.machine_id] = free_then.plus(holder.amounts)
        if fits(machine, wish.booking, freed[holder.machine_id]) is not None:
            return chosen[holder.machine_id]
    return []


def _order(holder: Holder, owners: dict[FunctionId, Owner]) -> tuple[bool, timedelta, int]:
    """Idle ones first, the longest idle of them first; then those of the function with most tasks."""
    return holder.idle_for is None, -(holder.idle_for or _NONE), -owners[holder.function_id].tasks


def _may_go(wish: Wish, holder: Holder, tasks: int, least: int, *, has_some: bool) -> bool:
    if tasks <= least:
        return False
    if has_some:
        return holder.idle_for is not None and holder.idle_for >= _LEFT_IDLE
    if holder.idle_for is not None:
        return True
    return wish.waited >= (_WAIT_FOR_A_BUSY_ONE if tasks > 1 else _WAIT_FOR_THE_ONLY_ONE)


def _why(wish: Wish, holder: Holder) -> str:
    state = "idle" if holder.idle_for is not None else "busy, and its function had its turn"
    return f"made room for {wish.function_id}, whose inputs waited ({state})"
