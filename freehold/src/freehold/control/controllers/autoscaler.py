"""How many tasks each function should have: asks `domain.autoscaling` and writes the answer as tasks wanted or drained."""

from datetime import timedelta

import structlog

from freehold.control.controllers.loop import for_each
from freehold.control.services.calls import Calls
from freehold.control.services.claims import Claims
from freehold.control.services.functions import Functions, LiveFunction
from freehold.control.services.tasks import LiveTask, Tasks
from freehold.domain.autoscaling import Decision, PoolSample, TaskSample, decide
from freehold.domain.clock import Clock
from freehold.domain.errors import NotFound
from freehold.domain.ids import FunctionId
from freehold.domain.tasks import TaskState

log = structlog.get_logger()


class Autoscaler:
    def __init__(
        self, *, functions: Functions, calls: Calls, tasks: Tasks, claims: Claims, clock: Clock, default_maximum: int, max_tasks: int
    ) -> None:
        self._functions = functions
        self._calls = calls
        self._tasks = tasks
        self._claims = claims
        self._clock = clock
        self._default_maximum = default_maximum
        self._max_tasks = max_tasks

    async def step(self) -> None:
        busy = {pool.function_id for pool in self._calls.pools() if len(pool) or pool.running}
        await for_each("scaling", busy | set(self._tasks.functions_with_tasks()) | self._functions.wanting_tasks(), self._step_function)

    async def _step_function(self, function_id: FunctionId) -> None:
        live = self._functions.known(function_id)
        if live is None and (pool := self._calls.find_pool(function_id)) is not None and len(pool):
            live = await self._load(function_id)
        tasks = [task for task in self._tasks.of_function(function_id).values() if _counts(task)]
        if live is None:
            for task in tasks:
                self._claims.drain(task, "its function is gone")
            return
        if live.message.is_builder_function:
            return  # its one task belongs to the build
        decision = self._decide(live, tasks)
        self._apply(live, decision)

    async def _load(self, function_id: FunctionId) -> LiveFunction | None:
        """Inputs restored after a restart, or kept over a redeploy, may be the first to name a function."""
        try:
            return await self._functions.live(function_id)
        except NotFound as error:
            await self._calls.stop_function(function_id, str(error))
            return None

    def _decide(self, live: LiveFunction, tasks: list[LiveTask]) -> Decision:
        pool = self._calls.find_pool(live.id)
        sample = PoolSample(
            queued=len(pool) if pool else 0,
            running=sum(len(task.running) for task in tasks if task.task.definition_id == live.definition_id),
            tasks=[self._sample(task, live) for task in tasks],
            may_start=self._tasks.may_start(live.id),
        )
        settings = self._functions.autoscaler_of(live)
        return decide(settings, live.spec.concurrency, sample, self._default_maximum)

    def _sample(self, task: LiveTask, live: LiveFunction) -> TaskSample:
        is_idle = task.state is TaskState.READY and not task.running
        return TaskSample(
            id=task.id,
            is_current=task.task.definition_id == live.definition_id,
            is_ready=task.state is TaskState.READY,
            running_inputs=len(task.running),
            idle_for=timedelta(seconds=self._clock.monotonic() - task.idle_since) if is_idle else timedelta(0),
        )

    def _apply(self, live: LiveFunction, decision: Decision) -> None:
        for task_id in decision.drain:
            if (task := self._tasks.find(task_id)) is not None:
                self._claims.drain(task, decision.reason)
        room = self._max_tasks - len(list(self._tasks.all()))
        if decision.start > room:
            log.warning("machine_full", function_id=live.id, wanted=decision.start, room=room)
        for _ in range(min(decision.start, room)):
            self._tasks.create(live.function, live.definition_id, decision.reason, is_restricted=live.spec.untrusted)


def _counts(task: LiveTask) -> bool:
    return task.state is not TaskState.DRAINING and not task.is_stopping and not task.is_build
