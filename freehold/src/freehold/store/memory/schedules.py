"""Schedules in memory."""

from collections.abc import Sequence
from datetime import datetime

from freehold.domain.ids import AppId, FunctionId
from freehold.domain.schedules import Schedule
from freehold.store.memory.rows import Rows, Undo


class Schedules:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[str, Schedule] = Rows(undo)

    async def put(self, schedule: Schedule) -> None:
        self._rows.put(schedule.function_id, schedule)

    async def find(self, function_id: FunctionId) -> Schedule | None:
        return self._rows.get(function_id)

    async def list(self) -> Sequence[Schedule]:
        return sorted(self._rows, key=lambda row: (row.app_id, row.function_id))

    async def of_app(self, app_id: AppId) -> Sequence[Schedule]:
        return [row for row in await self.list() if row.app_id == app_id]

    async def due(self, now: datetime) -> Sequence[Schedule]:
        waiting = [(row.next_at, row.function_id, row) for row in self._rows if row.next_at is not None]
        return [row for next_at, _, row in sorted(waiting) if next_at <= now]

    async def next_at(self) -> datetime | None:
        return min((row.next_at for row in self._rows if row.next_at is not None), default=None)

    async def advance(self, schedule: Schedule, due_at: datetime) -> bool:
        found = self._rows.get(schedule.function_id)
        if found is None or found.next_at != due_at:
            return False
        self._rows.put(schedule.function_id, schedule)
        return True

    async def delete(self, function_id: FunctionId) -> None:
        self._rows.drop(function_id)
