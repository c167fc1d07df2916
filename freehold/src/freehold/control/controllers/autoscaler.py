"""How many tasks each function should have: asks `domain.autoscaling` and `domain.sharing`, and writes the answers as tasks wanted or
drained, each with its reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from freehold.control.controllers.loop import for_each
from freehold.control.services.calls import Calls
from freehold.control.services.claims import Claims
from freehold.control.services.decisions import Decisions
from freehold.control.services.functions import Functions, LiveFunction
from freehold.control.services.machines import Machines
from freehold.control.services.tasks import LiveTask, Tasks
from freehold.domain import rollouts
from freehold.domain.autoscaling import Decision, PoolSample, Release, Verdict, decide
from freehold.domain.clock import Clock
from freehold.domain.errors import NotFound
from freehold.domain.functions import AutoscalerSettings
from freehold.domain.ids import FunctionId
from freehold.domain.placement import Fleet
from freehold.domain.rollouts import TaskSample
from freehold.domain.sharing import Grant, Holder, Owner, Shortage, Wish, make_room, share_out
from freehold.domain.tasks import TaskState

log = structlog.get_logger()

_ASKS_WITHIN = 3.0  # seconds: an idle container of an earlier engine tries again at least every half second


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outlook:
    """A function in this step."""

    live: LiveFunction
    settings: AutoscalerSettings
    tasks: int
    outdated: Sequence[TaskSample]
    decision: Decision


class Autoscaler:
    def __init__(
        self,
        *,
        functions: Functions,
        calls: Calls,
        tasks: Tasks,
        claims: Claims,
        machines: Machines,
        decisions: Decisions,
        clock: Clock,
        default_maximum: int,
    ) -> None:
        self._functions = functions
        self._calls = calls
        self._tasks = tasks
        self._claims = claims
        self._machines = machines
        self._decisions = decisions
        self._clock = clock
        self._default_maximum = default_maximum
        self._outlooks: dict[FunctionId, _Outlook] = {}
        self._short_since: dict[FunctionId, float] = {}
        self._released_at: dict[FunctionId, float] = {}

    async def step(self) -> None:
        busy = {pool.function_id for pool in self._calls.pools() if pool.queued or pool.running}
        concerned = busy | set(self._tasks.functions_with_tasks()) | self._functions.wanting_tasks()
        self._outlooks = {}
        await for_each("scaling", concerned, self._look)
        fleet = self._machines.fleet()
        grants, shortages = share_out([self._wish(outlook) for outlook in self._outlooks.values()], fleet)
        for grant in grants:
            self._start(grant)
        self._make_room(shortages, fleet)
        self._record(shortages)
        await for_each("refusal", [shortage for shortage in shortages if shortage.no_place.is_for_good], self._refuse)

    async def _refuse(self, shortage: Shortage) -> None:
        """What no machine can ever give is not waited for."""
        await self._calls.starts_failed(shortage.wish.function_id, shortage.no_place.reason, b"")

    async def _look(self, function_id: FunctionId) -> None:
        """Decide about one function; let go what it should let go."""
        live = self._functions.known(function_id)
        if live is None and (pool := self._calls.find_pool(function_id)) is not None and pool.queued:
            live = await self._load(function_id)
        tasks = [task for task in self._tasks.of_function(function_id).values() if _counts(task)]
        if live is None:
            for task in tasks:
                self._claims.drain(task, "its function is gone")
            return
        if live.message.is_builder_function:
            return  # its one task belongs to the build
        outlook = self._outlook(live, tasks)
        for release in outlook.decision.release:
            self._release(release)
        self._outlooks[function_id] = outlook

    async def _load(self, function_id: FunctionId) -> LiveFunction | None:
        """Inputs restored after a restart, or kept over a redeploy, may be the first to name a function."""
        try:
            return await self._functions.live(function_id)
        except NotFound as error:
            await self._calls.stop_function(function_id, str(error))
            return None

    def _outlook(self, live: LiveFunction, tasks: list[LiveTask]) -> _Outlook:
        pool = self._calls.find_pool(live.id)
        now = self._clock.monotonic()
        sample = PoolSample(
            queued=pool.queued if pool is not None else 0,
            running=sum(self._running(task) for task in tasks),
            tasks=[self._sample(task, live) for task in tasks],
            may_start=self._tasks.may_start(live.id),
            short_for=timedelta(seconds=now - self._short_since.get(live.id, now)),
            released=timedelta(seconds=now - self._released_at.get(live.id, -1e6)),
        )
        settings = self._functions.autoscaler_of(live)
        decision = decide(settings, live.spec.concurrency, sample, self._default_maximum)
        self._remember(live.id, decision, now)
        outdated = [item for item in sample.tasks if not item.is_current]
        return _Outlook(live=live, settings=settings, tasks=len(tasks), outdated=outdated, decision=decision)

    def _running(self, task: LiveTask) -> int:
        """One that stays silent after an engine's death is at work on an input of a caller that went with it."""
        is_at_work = task.is_silent and self._clock.monotonic() - task.since > _ASKS_WITHIN
        return max(task.load, int(is_at_work))

    def _sample(self, task: LiveTask, live: LiveFunction) -> TaskSample:
        return TaskSample(
            id=task.id,
            is_current=_is_current(task, live),
            is_ready=task.state is TaskState.READY,
            running_inputs=task.load,
            idle_for=self._idle_for(task) or timedelta(0),
        )

    def _idle_for(self, task: LiveTask) -> timedelta | None:
        """None while it starts, runs something or may be at work unheard."""
        return timedelta(seconds=self._clock.monotonic() - task.idle_since) if task.is_idle else None

    def _remember(self, function_id: FunctionId, decision: Decision, now: float) -> None:
        """What the next decision must know of this one."""
        if decision.verdict in (Verdict.START, Verdict.NOT_YET):
            self._short_since.setdefault(function_id, now)
        else:
            self._short_since.pop(function_id, None)
        if decision.verdict is Verdict.RELEASE:
            self._released_at[function_id] = now

    def _wish(self, outlook: _Outlook) -> Wish:
        pool = self._calls.find_pool(outlook.live.id)
        oldest = pool.waiting_since if pool is not None else None
        return Wish(
            function_id=outlook.live.id,
            booking=self._machines.booking(outlook.live.spec.resources),
            start=outlook.decision.start,
            tasks=outlook.tasks,
            waited=timedelta(seconds=max(self._clock.monotonic() - oldest, 0.0)) if oldest is not None else timedelta(0),
            is_waiting=oldest is not None,
        )

    def _start(self, grant: Grant) -> None:
        outlook = self._outlooks[grant.function_id]
        remark = self._machines.remark(outlook.live.spec.resources)
        self._tasks.create(
            outlook.live.function,
            outlook.live.definition_id,
            outlook.decision.reason,
            is_restricted=outlook.live.spec.untrusted,
            is_single_use=outlook.live.spec.single_use,
            booked=grant.placement.amounts,
            machine_id=grant.placement.machine_id,
            gpus=self._machines.devices(grant.placement),
            remark=f"{outlook.live.function.tag} {remark}." if remark else "",
        )

    def _make_room(self, shortages: list[Shortage], fleet: Fleet) -> None:
        if not shortages:
            return
        owners = {
            function_id: Owner(tasks=outlook.tasks, min_containers=outlook.settings.min_containers)
            for function_id, outlook in self._outlooks.items()
        }
        holders = [self._holder(task) for task in self._tasks.all() if task.task.function_id in owners]
        for function_id, release in make_room(shortages, holders, owners, fleet):
            log.info("task_makes_room", task_id=release.task_id, for_function_id=function_id)
            self._release(release)
        for shortage in shortages:
            self._make_own_room(self._outlooks[shortage.wish.function_id])

    def _make_own_room(self, outlook: _Outlook) -> None:
        """Where a new version finds no place beside the old one, it takes the place of one."""
        of_function = self._tasks.of_function(outlook.live.id).values()
        is_one_leaving = not all(_counts(task) for task in of_function)
        if (task_id := rollouts.gives_way(outlook.outdated, others=outlook.tasks - len(outlook.outdated))) and not is_one_leaving:
            self._release(Release(task_id=task_id, reason="made room for the version that replaces it"))

    def _holder(self, task: LiveTask) -> Holder:
        return Holder(
            task_id=task.id,
            function_id=task.task.function_id,
            machine_id=task.machine_id,
            amounts=task.booked,
            idle_for=self._idle_for(task),
            is_leaving=not _counts(task),
        )

    def _release(self, release: Release) -> None:
        if (task := self._tasks.find(release.task_id)) is not None:
            self._claims.drain(task, release.reason)

    def _record(self, shortages: list[Shortage]) -> None:
        short = {shortage.wish.function_id: shortage for shortage in shortages}
        for function_id, outlook in self._outlooks.items():
            self._decisions.record(function_id, outlook.decision, short.get(function_id))
        self._decisions.keep_only(self._outlooks)
        for memory in (self._short_since, self._released_at):
            for function_id in memory.keys() - self._outlooks.keys():
                del memory[function_id]


def _counts(task: LiveTask) -> bool:
    return task.state is not TaskState.DRAINING and not task.is_stopping and not task.is_build


def _is_current(task: LiveTask, live: LiveFunction) -> bool:
    """Whether it runs the live definition."""
    return task.task.definition_id == live.definition_id
