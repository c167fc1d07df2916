"""A fleet in simulated time, driven by the engine's own decisions: `domain.autoscaling`, `domain.sharing` and `domain.placement`.

Only what is around them is made up: arrivals, service times, cold starts, and containers that take inputs as real ones do, the one that
worked last first. What is measured is what users feel and owners pay.
"""

import heapq
import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from traffic import Arrival, Traffic

from freehold.domain.autoscaling import Decision, PoolSample, Verdict, decide, needed_tasks
from freehold.domain.functions import AutoscalerSettings, Concurrency
from freehold.domain.ids import FunctionId, TaskId
from freehold.domain.placement import Booking, Fleet, Machine
from freehold.domain.rollouts import TaskSample
from freehold.domain.sharing import Grant, Holder, Owner, Shortage, Wish, make_room, share_out

_EVERY = 0.5  # seconds between looks without a hint, as in the engine
_CEILING = 10_000


@dataclass(slots=True)
class Task:
    id: TaskId
    machine_id: str
    is_ready: bool = False
    is_leaving: bool = False
    running: int = 0
    idle_since: float = 0.0


@dataclass(slots=True)
class Pool:
    """One function: its inputs that wait (time of arrival, length), and its tasks."""

    name: FunctionId
    settings: AutoscalerSettings
    queue: deque[tuple[float, float]] = field(default_factory=deque)
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    idle: list[Task] = field(default_factory=list)  # the one that worked last is at the end
    running: int = 0
    released_at: float = -1e6
    short_since: float | None = None


@dataclass(slots=True)
class Measured:
    waits: list[float] = field(default_factory=list)
    starts: int = 0
    decisions: int = 0
    placements: int = 0
    deciding: float = 0.0  # seconds of real time
    placing: float = 0.0
    idle: float = 0.0  # container-seconds beyond need
    paid: float = 0.0  # container-seconds in all
    waited: float = 0.0  # input-seconds
    most: int = 0
    series: list[tuple[float, int, int]] = field(default_factory=list)  # time, containers, needed


class Simulation:
    def __init__(self, traffic: Traffic, machines: Iterable[Machine], policy: Callable[[AutoscalerSettings], AutoscalerSettings]) -> None:
        self._traffic = traffic
        self._policy = policy
        self._fleet = Fleet(machines)
        self._booking = Booking(amounts=traffic.books)
        self._pools: dict[str, Pool] = {}
        self._chance = random.Random(7)  # noqa: S311 — every policy meets the same luck
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._dirty: set[str] = set()
        self._now = 0.0
        self._containers = 0
        self.measured = Measured()

    def run(self) -> Measured:
        arrivals: deque[Arrival] = deque(self._traffic.arrivals)
        tick = 0.0
        while self._now < self._traffic.seconds:
            due = min(arrivals[0].at if arrivals else 1e18, self._events[0][0] if self._events else 1e18, tick)
            self._advance(due)
            if arrivals and arrivals[0].at <= due:
                self._arrive(arrivals.popleft())
            elif self._events and self._events[0][0] <= due:
                heapq.heappop(self._events)[2]()
            else:
                tick = due + _EVERY
                self._dirty |= {name for name, pool in self._pools.items() if pool.tasks or pool.queue}
                self._sample()
            if self._dirty:
                self._step()
        return self.measured

    # What happens.

    def _arrive(self, arrival: Arrival) -> None:
        pool = self._pools.get(arrival.function)
        if pool is None:
            settings = self._policy(self._traffic.settings.get(arrival.function, AutoscalerSettings()))
            pool = self._pools[arrival.function] = Pool(FunctionId(arrival.function), settings)
        pool.queue.append((arrival.at, arrival.takes))
        self._hand_out(pool)
        if pool.queue:  # a task that waited took it otherwise: no demand, as in the engine
            self._dirty.add(pool.name)

    def _ready(self, pool: Pool, task: Task) -> None:
        if task.is_leaving:
            return
        task.is_ready, task.idle_since = True, self._now
        pool.idle.append(task)
        self._hand_out(pool)

    def _done(self, pool: Pool, task: Task) -> None:
        task.running -= 1
        pool.running -= 1
        if task.running == 0:
            task.idle_since = self._now
        if task.is_leaving:
            if task.running == 0:
                self._end(pool, task)
            return
        pool.idle.append(task)
        self._hand_out(pool)

    def _hand_out(self, pool: Pool) -> None:
        while pool.queue and pool.idle:
            task = pool.idle.pop()
            if task.is_leaving or task.running >= self._concurrency.target_inputs:
                continue
            arrived, takes = pool.queue.popleft()
            self.measured.waits.append(self._now - arrived)
            task.running += 1
            pool.running += 1
            if task.running < self._concurrency.target_inputs:
                pool.idle.append(task)
            self._at(takes, lambda task=task: self._done(pool, task))

    def _end(self, pool: Pool, task: Task) -> None:
        if pool.tasks.pop(task.id, None) is not None:
            self._containers -= 1
            self._fleet.release(task.machine_id, self._booking.amounts)

    # What is decided: the controller of the engine, over simulated tasks.

    def _step(self) -> None:
        decided = {name: self._decide(self._pools[name]) for name in self._dirty}
        self._dirty.clear()
        wishes = [self._wish(self._pools[name], decision.start) for name, decision in decided.items() if decision.start]
        if not wishes:
            return
        started = time.perf_counter()
        grants, shortages = share_out(wishes, self._fleet)
        self.measured.placing += time.perf_counter() - started
        self.measured.placements += len(grants) + len(shortages)
        for grant in grants:
            self._start(grant)
        if shortages:
            self._make_room(shortages)

    def _decide(self, pool: Pool) -> Decision:
        started = time.perf_counter()
        sample = PoolSample(
            queued=len(pool.queue),
            running=pool.running,
            tasks=[self._sample_of(task) for task in pool.tasks.values() if not task.is_leaving],
            short_for=timedelta(seconds=self._now - (self._now if pool.short_since is None else pool.short_since)),
            released=timedelta(seconds=self._now - pool.released_at),
        )
        decision = decide(pool.settings, self._concurrency, sample, _CEILING)
        self.measured.deciding += time.perf_counter() - started
        self.measured.decisions += 1
        if decision.verdict not in (Verdict.START, Verdict.NOT_YET):
            pool.short_since = None
        elif pool.short_since is None:
            pool.short_since = self._now
        if decision.verdict is Verdict.RELEASE:
            pool.released_at = self._now
        for release in decision.release:
            self._release(pool, pool.tasks[release.task_id])
        return decision

    def _sample_of(self, task: Task) -> TaskSample:
        is_idle = task.is_ready and not task.running
        idle_for = timedelta(seconds=self._now - task.idle_since) if is_idle else timedelta(0)
        return TaskSample(id=task.id, is_current=True, is_ready=task.is_ready, running_inputs=task.running, idle_for=idle_for)

    def _wish(self, pool: Pool, start: int) -> Wish:
        return Wish(
            function_id=pool.name,
            booking=self._booking,
            start=start,
            tasks=sum(1 for task in pool.tasks.values() if not task.is_leaving),
            waited=timedelta(seconds=self._now - pool.queue[0][0] if pool.queue else 0),
            is_waiting=bool(pool.queue),
        )

    def _start(self, grant: Grant) -> None:
        pool = self._pools[grant.function_id]
        task = Task(TaskId(f"ta-{next(self._numbers)}"), grant.placement.machine_id)
        pool.tasks[task.id] = task
        self._containers += 1
        self.measured.starts += 1
        self._at(self._traffic.cold_start(self._chance), lambda: self._ready(pool, task))

    def _make_room(self, shortages: Sequence[Shortage]) -> None:
        owners = {
            pool.name: Owner(tasks=sum(1 for task in pool.tasks.values() if not task.is_leaving), min_containers=0)
            for pool in self._pools.values()
        }
        holders = [self._holder(pool, task) for pool in self._pools.values() for task in pool.tasks.values()]
        found = {holder.task_id: holder.function_id for holder in holders}
        for _, release in make_room(shortages, holders, owners, self._fleet):
            pool = self._pools[found[release.task_id]]
            self._release(pool, pool.tasks[release.task_id])

    def _holder(self, pool: Pool, task: Task) -> Holder:
        is_idle = task.is_ready and not task.running
        return Holder(
            task_id=task.id,
            function_id=pool.name,
            machine_id=task.machine_id,
            amounts=self._booking.amounts,
            idle_for=timedelta(seconds=self._now - task.idle_since) if is_idle else None,
            is_leaving=task.is_leaving,
        )

    def _release(self, pool: Pool, task: Task) -> None:
        task.is_leaving = True
        if not task.running:
            self._end(pool, task)

    # What is measured.

    def _advance(self, due: float) -> None:
        passed, self._now = due - self._now, due
        if passed > 0:
            self.measured.paid += passed * self._containers

    def _sample(self) -> None:
        """Twice a second: containers beyond need, and inputs that wait."""
        needed = sum(needed_tasks(pool.settings, self._concurrency, len(pool.queue) + pool.running) for pool in self._pools.values())
        self.measured.waited += _EVERY * sum(len(pool.queue) for pool in self._pools.values())
        self.measured.idle += _EVERY * max(self._containers - needed, 0)
        self.measured.most = max(self.measured.most, self._containers)
        self.measured.series.append((self._now, self._containers, needed))

    @property
    def _concurrency(self) -> Concurrency:
        return self._traffic.concurrency

    def _at(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._now + seconds, next(self._numbers), what))
