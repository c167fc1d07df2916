"""Tasks of the past: people ask about containers that have ended."""

from freehold.control.services.journal import Journal
from freehold.control.services.tasks import Tasks
from freehold.domain.ids import TaskId
from freehold.domain.tasks import Task
from freehold.store.ports import Store


class TaskHistory:
    def __init__(self, *, tasks: Tasks, journal: Journal, store: Store) -> None:
        self._tasks = tasks
        self._journal = journal
        self._store = store

    async def get(self, task_id: TaskId) -> Task:
        """The task as it is, or as it ended. Raises NotFound."""
        if (live := self._tasks.find(task_id)) is not None:
            return live.task
        await self._journal.flush()  # it may have ended a moment ago
        async with self._store.transaction() as tx:
            return await tx.tasks.get(task_id)
