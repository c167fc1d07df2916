"""Tells the worker which tasks should run: the whole set, each time it changes."""

import structlog

from freehold.control.controllers.loop import for_each
from freehold.control.services.launches import Launches
from freehold.control.services.tasks import LiveTask, Tasks
from freehold.domain.errors import FreeholdError
from freehold.domain.ids import TaskId
from freehold.domain.tasks import ExitKind, TaskExit, TaskState
from freehold.wire.worker import TaskSpec, WorkerControl

log = structlog.get_logger()


class Scheduler:
    def __init__(self, *, tasks: Tasks, launches: Launches, worker: WorkerControl) -> None:
        self._tasks = tasks
        self._launches = launches
        self._worker = worker
        self._specs: dict[TaskId, TaskSpec] = {}

    async def step(self) -> None:
        tasks = [task for task in self._tasks.all() if not task.is_build]
        wanted = {task.id: task for task in tasks if not task.is_stopping}
        unstarted = [task for task in tasks if task.state is TaskState.PENDING and task.id not in self._specs]
        for task in [task for task in unstarted if task.is_stopping]:
            await self._tasks.record_exit(task.id, TaskExit(kind=ExitKind.STOPPED))
        for task in tasks:
            if task.is_stopping and (task.task.ready_at is None or task.is_mute):
                await self._worker.kill(task.id)  # it has run nothing, or hears nothing: no exit hook could miss it
        await for_each("launch", [task for task_id, task in wanted.items() if task_id not in self._specs], self._prepare)
        known = {task.id for task in self._tasks.all()}
        self._specs = {task_id: spec for task_id, spec in self._specs.items() if task_id in known}
        self._worker.set_desired({task_id: spec for task_id, spec in self._specs.items() if task_id in wanted})

    async def _prepare(self, task: LiveTask) -> None:
        try:
            self._specs[task.id] = await self._launches.spec(task)
        except FreeholdError as error:
            log.warning("launch_refused", task_id=task.id, why=str(error))
            await self._tasks.record_exit(task.id, TaskExit(kind=ExitKind.NOT_STARTED, detail=str(error)))
