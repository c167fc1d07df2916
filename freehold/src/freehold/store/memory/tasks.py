"""Tasks in memory."""

from collections.abc import Collection, Sequence
from datetime import datetime

from freehold.domain.ids import AppId, FunctionId, TaskId
from freehold.domain.tasks import Task
from freehold.store import missing
from freehold.store.memory.rows import Rows, Undo, page, required
from freehold.store.ports import Place


class Tasks:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[str, Task] = Rows(undo)

    async def put(self, task: Task) -> None:
        self._rows.put(task.id, task)

    async def get(self, task_id: TaskId) -> Task:
        return required(self._rows.get(task_id), missing.task(task_id))

    async def alive(self) -> Sequence[Task]:
        return sorted((row for row in self._rows if row.is_alive), key=lambda row: (row.enqueued_at, row.id))

    async def of_app(self, app_id: AppId, limit: int = 1000) -> Sequence[Task]:
        found = [row for row in self._rows if row.app_id == app_id]
        return sorted(found, key=lambda row: (row.enqueued_at, row.id), reverse=True)[:limit]

    async def page(
        self, before: Place | None, limit: int, *, app_id: AppId | None = None, function_ids: Collection[FunctionId] = ()
    ) -> Sequence[Task]:
        found = (row for row in self._rows if app_id in (None, row.app_id) and (not function_ids or row.function_id in function_ids))
        return page(found, lambda row: (row.enqueued_at, row.id), before, limit)

    async def delete_ended_before(self, moment: datetime) -> int:
        old = [task.id for task in self._rows if task.ended_at is not None and task.ended_at < moment]
        for task_id in old:
            self._rows.drop(task_id)
        return len(old)
