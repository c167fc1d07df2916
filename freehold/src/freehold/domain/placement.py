"""Where a task goes: by what it asks for and what machines have left. Values in, a place or the reason why there is none out.

Requests book, they do not bind: what a task may use at most are its limits. CPU time can be shared, so a machine books more of it than
it has (`cpu_overcommit`); memory cannot. What is not asked for books nothing, and the number of tasks bounds that. A request larger than
the largest machine books the whole of one rather than being refused: code written for a bigger machine runs, slower.

GPUs are never made smaller: who asks for some gets as many of one kind, alone. Of several types that would do, the first for which there is
room anywhere is taken.

Best fit: the fullest machine that still takes the task, so that large requests find room and unused machines stay unused.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from freehold.domain import gpus
from freehold.domain.functions import ResourceRequest
from freehold.domain.gpus import Counts, Gpu, GpuRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What a machine has, or a task books."""

    tasks: int = 1
    milli_cpu: int = 0
    memory_mib: int = 0
    gpus: Counts = ()

    def covers(self, other: "Amounts") -> bool:
        return (
            self.tasks >= other.tasks
            and self.milli_cpu >= other.milli_cpu
            and self.memory_mib >= other.memory_mib
            and all(dict(self.gpus).get(kind, 0) >= count for kind, count in other.gpus)
        )

    def plus(self, other: "Amounts") -> "Amounts":
        return Amounts(
            tasks=self.tasks + other.tasks,
            milli_cpu=self.milli_cpu + other.milli_cpu,
            memory_mib=self.memory_mib + other.memory_mib,
            gpus=gpus.summed(self.gpus, other.gpus),
        )

    def minus(self, other: "Amounts") -> "Amounts":
        return Amounts(
            tasks=self.tasks - other.tasks,
            milli_cpu=self.milli_cpu - other.milli_cpu,
            memory_mib=self.memory_mib - other.memory_mib,
            gpus=gpus.summed(self.gpus, other.gpus, -1),
        )

    def eases(self, lack: "Amounts") -> bool:
        """Whether it has some of what is lacking: more than nothing in `lack`."""
        return (
            min(self.tasks, lack.tasks) > 0
            or min(self.milli_cpu, lack.milli_cpu) > 0
            or min(self.memory_mib, lack.memory_mib) > 0
            or any(min(count, dict(lack.gpus).get(kind, 0)) > 0 for kind, count in self.gpus)
        )


NOTHING = Amounts(tasks=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """`total` is what may be booked: its memory, its GPUs, and its CPU time as often as it is overcommitted."""

    id: str
    total: Amounts
    booked: Amounts = NOTHING
    gpus: tuple[Gpu, ...] = ()  # one by one

    @property
    def free(self) -> Amounts:
        return self.total.minus(self.booked)

    def ways(self, booking: "Booking") -> Iterator[Amounts]:
        """What it could book here, if nothing else were: the GPUs that are wanted most first."""
        if not booking.gpus:
            yield booking.amounts
        for request in booking.gpus:
            for kind in gpus.kinds_for(request, self.gpus):
                yield replace(booking.amounts, gpus=((kind, request.count),))

    def pick(self, wanted: Counts, taken: Collection[int]) -> tuple[int, ...]:
        """Which devices these are: the first of their kind that nobody has taken."""
        found: list[int] = []
        for kind, count in wanted:
            free = sorted(gpu.index for gpu in self.gpus if gpu.name == kind and gpu.index not in taken)
            found += free[:count]
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """What one task books: `amounts`, which are without GPUs, and one of `gpus`."""

    amounts: Amounts
    gpus: tuple[GpuRequest, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a task goes, and what it books there."""

    machine_id: str
    reason: str
    amounts: Amounts = Amounts()


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPlace:
    reason: str
    is_for_good: bool = False  # no machine could ever take it


def booking_for(resources: ResourceRequest, largest: Amounts) -> Booking:
    """What a task of this request books: at most the largest machine, so that everything can run somewhere.

    `largest` is not overcommitted: one task never books more CPU time than its machine has. GPUs are not made smaller.
    """
    amounts = Amounts(
        milli_cpu=min(resources.milli_cpu, largest.milli_cpu),
        memory_mib=min(resources.memory_mib, largest.memory_mib),
    )
    return Booking(amounts=amounts, gpus=resources.gpus)


def fits(machine: Machine, booking: Booking, freed: Amounts = NOTHING) -> Amounts | None:
    """What it would book there, now or once this is free too; None if there is no room."""
    free = machine.free.plus(freed)
    return next((amounts for amounts in machine.ways(booking) if free.covers(amounts)), None)


def choose(booking: Booking, machines: Iterable[Machine]) -> Placement | NoPlace:
    """The fullest machine that takes it. Looks at each; `Fleet` finds the same without."""
    fleet = Fleet(machines)
    return fleet.choose(booking)


class Fleet:
    """Machines in order of how much room they have, kept in that order while tasks come and go.

    The order is by the scarcest thing that a machine has left, as a share of the largest machine's. One with a larger share than the
    request's largest takes it for certain, so best fit is found by bisection. Only where none is certain are the others looked at:
    those that have much of what is asked for, and little of something else.
    """

    def __init__(self, machines: Iterable[Machine]) -> None:
        self._machines = {machine.id: machine for machine in machines}
        self._largest = _largest(machine.total for machine in self._machines.values())
        self._order = sorted((self._room(machine), machine.id) for machine in self._machines.values())
        self._refused: dict[Booking, NoPlace] = {}  # since the last time that something became free

    @property
    def machines(self) -> Iterable[Machine]:
        return self._machines.values()

    def get(self, machine_id: str) -> Machine:
        return self._machines[machine_id]

    def choose(self, booking: Booking) -> Placement | NoPlace:
        if (refused := self._refused.get(booking)) is not None:
            return refused
        for one in _one_by_one(booking):
            if (found := self._find(one)) is not None:
                machine, amounts = found
                return Placement(machine_id=machine.id, reason=f"the fullest of {len(self._machines)} that takes it", amounts=amounts)
        self._refused[booking] = refused = self._no_place(booking)
        return refused

    def book(self, machine_id: str, amounts: Amounts) -> None:
        self._replace(machine_id, self._machines[machine_id].booked.plus(amounts))

    def release(self, machine_id: str, amounts: Amounts) -> None:
        self._refused.clear()
        self._replace(machine_id, self._machines[machine_id].booked.minus(amounts))

    def _find(self, booking: Booking) -> tuple[Machine, Amounts] | None:
        asked = self._share(booking.amounts)
        certain = bisect_left(self._order, (asked, ""))
        for index in chain(range(certain, len(self._order)), range(certain - 1, -1, -1)):
            machine = self._machines[self._order[index][1]]
            if (amounts := fits(machine, booking)) is not None:
                return machine, amounts
        return None

    def _no_place(self, booking: Booking) -> NoPlace:
        able = [machine for machine in self._machines.values() if fits(replace(machine, booked=NOTHING), booking)]
        if not able:
            return NoPlace(reason=self._why_never(booking), is_for_good=True)
        fullest = max(able, key=self._room)
        short = _short_of(fullest, next(fullest.ways(booking)))
        return NoPlace(reason=f"The machine is full: {short}." if len(able) == 1 else f"All {len(able)} machines are full: {short}.")

    def _why_never(self, booking: Booking) -> str:
        if why := gpus.lack(booking.gpus, [gpu for machine in self._machines.values() for gpu in machine.gpus]):
            return f"It {why}."
        return f"No machine has {_told(booking)}."

    def _replace(self, machine_id: str, booked: Amounts) -> None:
        machine = self._machines[machine_id]
        del self._order[bisect_left(self._order, (self._room(machine), machine_id))]
        self._machines[machine_id] = machine = replace(machine, booked=booked)
        insort(self._order, (self._room(machine), machine_id))

    def _room(self, machine: Machine) -> float:
        """The share of the scarcest thing left. GPUs are left out: most machines have none, and most tasks want none."""
        free, largest = machine.free, self._largest
        return min(free.tasks / largest.tasks, free.milli_cpu / largest.milli_cpu, free.memory_mib / largest.memory_mib)

    def _share(self, amounts: Amounts) -> float:
        """The largest share of anything that is asked for."""
        largest = self._largest
        return max(amounts.tasks / largest.tasks, amounts.milli_cpu / largest.milli_cpu, amounts.memory_mib / largest.memory_mib)


def _largest(totals: Iterable[Amounts]) -> Amounts:
    """The most that any machine has of each thing; at least one of each, to divide by."""
    found = list(totals)
    return Amounts(
        tasks=max([1, *(total.tasks for total in found)]),
        milli_cpu=max([1, *(total.milli_cpu for total in found)]),
        memory_mib=max([1, *(total.memory_mib for total in found)]),
    )


def _short_of(machine: Machine, asked: Amounts) -> str:
    free, total = machine.free, machine.total
    if free.tasks < asked.tasks:
        return f"{machine.booked.tasks} of {total.tasks} tasks run"
    for kind, count in asked.gpus:
        if (left := dict(free.gpus).get(kind, 0)) < count:
            return f"{count} x {kind} are asked for and {left} of {dict(total.gpus)[kind]} are free"
    if free.memory_mib < asked.memory_mib:
        return f"{asked.memory_mib} MiB of memory are asked for and {free.memory_mib} of {total.memory_mib} MiB are not booked"
    return f"{asked.milli_cpu / 1000:g} CPUs are asked for and {free.milli_cpu / 1000:g} of {total.milli_cpu / 1000:g} are not booked"


def _told(booking: Booking) -> str:
    asked = booking.amounts
    found = f"{asked.milli_cpu / 1000:g} CPUs and {asked.memory_mib} MiB of memory"
    return f"{found} with {gpus.told(booking.gpus)}" if booking.gpus else found


def _one_by_one(booking: Booking) -> Sequence[Booking]:
    """The alternatives, in order: what is wanted most is taken anywhere rather than the next on a fuller machine."""
    return [replace(booking, gpus=(request,)) for request in booking.gpus] or [booking]
