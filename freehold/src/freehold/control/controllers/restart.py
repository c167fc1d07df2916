"""The start of the engine: what an earlier one left is taken up again. Containers that still live go on; others are written off."""

from collections.abc import Collection

import structlog

from freehold.control.services.apps import Apps
from freehold.control.services.calls import Calls
from freehold.control.services.functions import Functions
from freehold.control.services.journal import Journal
from freehold.control.services.machines import Machines
from freehold.control.services.tasks import Tasks
from freehold.domain.clock import Clock
from freehold.domain.errors import NotFound
from freehold.domain.tasks import ExitKind, Task, end_lost
from freehold.store.ports import Store
from freehold.wire.worker import WorkerControl

log = structlog.get_logger()


class Restart:
    def __init__(
        self,
        *,
        store: Store,
        apps: Apps,
        functions: Functions,
        calls: Calls,
        tasks: Tasks,
        machines: Machines,
        journal: Journal,
        worker: WorkerControl,
        clock: Clock,
    ) -> None:
        self._store = store
        self._apps = apps
        self._functions = functions
        self._calls = calls
        self._tasks = tasks
        self._machines = machines
        self._journal = journal
        self._worker = worker
        self._clock = clock

    async def restore(self) -> None:
        """Before anything is served. Tasks come before inputs: one that a task was running is running still."""
        async with self._store.transaction() as tx:
            left = await tx.tasks.alive()
        adopted = await self._worker.adopt([task.id for task in left])
        lost = [task for task in left if task.id not in adopted]
        await self._write_off(lost)
        await self._apps.restore()
        for task in left:
            if task.id in adopted:
                await self._adopt(task)
        inputs = await self._calls.restore()
        log.info("restored", adopted=len(adopted), lost=len(lost), inputs=inputs)

    async def _write_off(self, lost: Collection[Task]) -> None:
        async with self._store.transaction() as tx:
            for task in lost:
                await tx.tasks.put(end_lost(task, self._clock.now()))
        for task in lost:
            self._journal.event(task.id, "task_ended", cause=ExitKind.LOST)

    async def _adopt(self, task: Task) -> None:
        """As it was. If its function has gone meanwhile, it is ended in good order; if it has changed, the autoscaler replaces it."""
        try:
            function = await self._functions.live(task.function_id)
        except NotFound as error:
            self._tasks.stop(self._tasks.adopt(task, is_restricted=True), str(error))
        else:
            spec = function.spec
            booked = self._machines.booked(spec.resources, task.gpus)
            self._tasks.adopt(task, is_restricted=spec.untrusted, is_single_use=spec.single_use, booked=booked)
