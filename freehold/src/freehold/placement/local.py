"""The machine itself as the only place: what the controllers want goes to its worker by a call, what happens comes back by another."""

from collections.abc import Sequence

from freehold.control.services.build_functions import BuildFunctions
from freehold.control.services.images import Images
from freehold.control.services.logs import Logs
from freehold.control.services.tasks import Tasks
from freehold.control.services.usage import UsageBook
from freehold.domain.ids import ImageId, TaskId
from freehold.domain.logs import LogEntry
from freehold.domain.tasks import TaskExit
from freehold.wire.execs import ExecEnd
from freehold.wire.worker import BuiltImage, TaskSample


class LocalReports:
    """See `wire.worker.WorkerReports`: facts of the worker, handed to the services that record them."""

    def __init__(self, *, tasks: Tasks, usage: UsageBook, logs: Logs, images: Images, build_functions: BuildFunctions) -> None:
        self._tasks = tasks
        self._usage = usage
        self._logs = logs
        self._images = images
        self._build_functions = build_functions

    async def task_started(self, task_id: TaskId, address: str, start: str = "", no_snapshot: str = "") -> None:
        self._tasks.record_started(task_id, address, start, no_snapshot)
        if (live := self._tasks.find(task_id)) is not None and live.remark:
            self._logs.remark(live, live.remark)

    async def task_exited(self, task_id: TaskId, end: TaskExit) -> None:
        live = self._tasks.find(task_id)
        self._logs.task_exited(task_id, end)
        await self._tasks.record_exit(task_id, end)
        if live is not None:
            self._logs.nudge(live.task.app_id)

    def tasks_sampled(self, samples: Sequence[TaskSample]) -> None:
        self._usage.record(samples)

    def task_logged(self, task_id: TaskId, entries: list[LogEntry]) -> None:
        self._logs.task_logged(task_id, entries)

    def exec_ended(self, task_id: TaskId, exec_id: str, end: ExecEnd) -> None:
        self._tasks.record_exec_ended(task_id, exec_id, end)

    def build_logged(self, image_id: ImageId, entries: list[LogEntry]) -> None:
        self._logs.append(image_id, entries)

    async def build_function_ended(self, task_id: TaskId) -> str:
        return await self._build_functions.verdict(task_id)

    async def build_finished(self, image_id: ImageId, outcome: BuiltImage | str) -> None:
        await self._build_functions.release(image_id)
        await self._images.record_finished(image_id, outcome)
