"""The end of the engine: tasks are told to leave, as at the end of their app, before their worker interrupts those that stay."""

from freehold.control.services.claims import Claims
from freehold.control.services.tasks import LiveTask, Tasks
from freehold.control.wakeups import Wakeup
from freehold.domain.clock import Clock
from freehold.wire.worker import WorkerControl

_PATIENCE = 2.0  # seconds: an idle container needs a tenth of one to run its exit hooks and leave, a large one half of one


class Farewell:
    def __init__(self, *, tasks: Tasks, claims: Claims, worker: WorkerControl, changed: Wakeup, clock: Clock) -> None:
        self._tasks = tasks
        self._claims = claims
        self._worker = worker
        self._changed = changed
        self._clock = clock

    async def say(self) -> None:
        """Returns when every task has ended, or after a moment with those that run an input."""
        for live in self._tasks.all():
            await self._dismiss(live)
        deadline = self._clock.monotonic() + _PATIENCE
        while list(self._tasks.all()):
            generation = self._changed.generation
            if not await self._changed.wait(generation, deadline - self._clock.monotonic()):
                return

    async def _dismiss(self, live: LiveTask) -> None:
        self._claims.drain(live, "the engine stops")
        if live.task.ready_at is None:
            await self._worker.kill(live.id)
