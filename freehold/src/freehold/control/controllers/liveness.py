"""What takes too long: starts, inputs, drains, clients that went away. Each gets its end."""

from datetime import timedelta

import structlog
from modal_proto import api_pb2

from freehold.control.controllers.loop import for_each
from freehold.control.services.apps import Apps
from freehold.control.services.calls import Calls
from freehold.control.services.claims import Claims
from freehold.control.services.functions import Functions
from freehold.control.services.logs import Logs
from freehold.control.services.outputs import failed
from freehold.control.services.tasks import LiveTask, Tasks
from freehold.domain.clock import Clock
from freehold.domain.tasks import TaskState

log = structlog.get_logger()

_STUCK = "an input ran into its timeout"
_HEED_LIMIT = 30.0  # seconds in which an input that is cancelled should end
_DRAIN_LIMIT = 30.0  # seconds for exit hooks once its last input is done; the same grace that modal gives


class Liveness:
    def __init__(
        self,
        *,
        apps: Apps,
        functions: Functions,
        calls: Calls,
        claims: Claims,
        tasks: Tasks,
        logs: Logs,
        clock: Clock,
        heartbeat_timeout: timedelta,
    ) -> None:
        self._apps = apps
        self._functions = functions
        self._calls = calls
        self._claims = claims
        self._tasks = tasks
        self._logs = logs
        self._clock = clock
        self._heartbeat_timeout = heartbeat_timeout.total_seconds()

    async def step(self) -> None:
        await for_each("liveness", self._tasks.all(), self._check)
        await self._apps.stop_abandoned()
        await self._apps.stop_finished()
        for app_id in self._apps.take_ended():
            self._logs.mark_done(app_id)
        self._calls.forget_silent()

    async def _check(self, task: LiveTask) -> None:
        now = self._clock.monotonic()
        self._check_voice(task, now)
        await self._check_inputs(task, now)
        match task.state:
            case TaskState.PENDING | TaskState.STARTING:
                await self._check_start(task, now)
            case TaskState.DRAINING:
                self._check_drain(task, now)
            case TaskState.READY if task.is_silent:
                self._check_silence(task, now)

    def _check_drain(self, task: LiveTask, now: float) -> None:
        self._claims.dismiss(task)
        if task.load:
            return
        if task.is_stuck:
            self._tasks.stop(task, _STUCK)
        elif now - max(task.since, task.idle_since) > _DRAIN_LIMIT:
            self._tasks.stop(task, "did not end by itself after draining")

    def _check_voice(self, task: LiveTask, now: float) -> None:
        if task.heard is not None and not task.is_mute and now - task.heard > self._heartbeat_timeout:
            text = f"no heartbeat for {self._heartbeat_timeout:g} s"
            log.warning("task_hung", task_id=task.id, function_id=task.task.function_id, silent_s=round(now - task.heard, 1))
            self._tasks.end_mute(task, text)

    async def _check_start(self, task: LiveTask, now: float) -> None:
        live = self._functions.known(task.task.function_id)
        if live is None or task.is_stopping or now - task.since <= live.spec.startup_timeout.total_seconds():
            return
        text = f"The container was not ready within its startup_timeout of {live.spec.startup_timeout.total_seconds():g} s."
        await self._claims.fail_start(task.id, failed(api_pb2.GenericResult.GENERIC_STATUS_INIT_FAILURE, text).result)
        self._tasks.stop(task, text)

    def _check_silence(self, task: LiveTask, now: float) -> None:
        """Whatever it began under an earlier engine, it has no more time for it than for any other input."""
        live = self._functions.known(task.task.function_id)
        if live is not None and not task.load and now - task.since > live.spec.timeout.total_seconds():
            self._tasks.stop(task, "has not asked for inputs since an engine was started anew")

    async def _check_inputs(self, task: LiveTask, now: float) -> None:
        live = self._functions.known(task.task.function_id)
        if live is None:
            return
        limit = live.spec.timeout.total_seconds()
        late = [item for item in task.running.values() if now - item.claimed_at > limit]
        for item in late:
            if item.task_id != task.id:
                continue  # it has come to something while the one before was written
            self._logs.remark(task, f"Input {item.id} ran into its timeout of {limit:g} s.", item.id)
            await self._claims.time_out(item, limit)
        if late:  # nobody can tell from outside whether it goes on: its neighbours finish, and another container takes its place
            task.is_stuck = True
            self._claims.drain(task, _STUCK)
        if any(item.is_cancelled and now - item.cancelled_at > _HEED_LIMIT for item in task.running.values()):
            self._tasks.stop(task, "it went on with an input that was cancelled")
