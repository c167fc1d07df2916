"""Tasks in SQL."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select

from freehold.domain.ids import AppId, FunctionId, TaskId
from freehold.domain.tasks import ExitKind, Task, TaskExit, TaskState
from freehold.store import missing
from freehold.store.ports import Place
from freehold.store.sql import statements
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import tasks


class SqlTasks:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, task: Task) -> None:
        await statements.put(self._connection, tasks, _row(task))

    async def get(self, task_id: TaskId) -> Task:
        row = await statements.required(self._connection, select(tasks).where(tasks.c.id == task_id), missing.task(task_id))
        return _task(row)

    async def alive(self) -> Sequence[Task]:
        query = select(tasks).where(tasks.c.state != TaskState.ENDED.value).order_by(tasks.c.enqueued_at, tasks.c.id)
        return [_task(row) for row in await self._connection.execute(query)]

    async def of_app(self, app_id: AppId, limit: int = 1000) -> Sequence[Task]:
        newest = select(tasks).where(tasks.c.app_id == app_id).order_by(tasks.c.enqueued_at.desc(), tasks.c.id.desc())
        return [_task(row) for row in await self._connection.execute(newest.limit(limit))]

    async def page(
        self, before: Place | None, limit: int, *, app_id: AppId | None = None, function_ids: Collection[FunctionId] = ()
    ) -> Sequence[Task]:
        query = select(tasks)
        if app_id is not None:
            query = query.where(tasks.c.app_id == app_id)
        if function_ids:
            query = query.where(tasks.c.function_id.in_(function_ids))
        page = statements.page(query, tasks.c.enqueued_at, tasks.c.id, before, limit)
        return [_task(row) for row in await self._connection.execute(page)]

    async def delete_ended_before(self, moment: datetime) -> int:
        old = (tasks.c.state == TaskState.ENDED.value) & (tasks.c.ended_at < moment)
        return (await self._connection.execute(delete(tasks).where(old))).rowcount


def _row(task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "app_id": task.app_id,
        "function_id": task.function_id,
        "definition_id": task.definition_id,
        "state": task.state.value,
        "enqueued_at": task.enqueued_at,
        "token_hash": task.token_hash,
        "started_at": task.started_at,
        "ready_at": task.ready_at,
        "ended_at": task.ended_at,
        "exit_kind": task.exit.kind.value if task.exit else None,
        "exit_code": task.exit.code if task.exit else None,
        "exit_detail": task.exit.detail if task.exit else None,
        "gpus": list(task.gpus),
    }


def _task(row: Row[Any]) -> Task:
    return Task(
        id=row.id,
        app_id=row.app_id,
        function_id=row.function_id,
        definition_id=row.definition_id,
        state=TaskState(row.state),
        enqueued_at=row.enqueued_at,
        token_hash=row.token_hash,
        started_at=row.started_at,
        ready_at=row.ready_at,
        ended_at=row.ended_at,
        exit=_exit(row),
        gpus=tuple(row.gpus),
    )


def _exit(row: Row[Any]) -> TaskExit | None:
    if row.exit_kind is None:
        return None
    return TaskExit(kind=ExitKind(row.exit_kind), code=row.exit_code, detail=row.exit_detail)
