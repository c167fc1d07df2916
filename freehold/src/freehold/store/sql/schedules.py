"""Schedules in SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, select, update

from freehold.domain.ids import AppId, FunctionId
from freehold.domain.schedules import Cron, Period, Rule, Schedule
from freehold.store.sql import statements
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import schedules


class SqlSchedules:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, schedule: Schedule) -> None:
        await statements.put(self._connection, schedules, _row(schedule))

    async def find(self, function_id: FunctionId) -> Schedule | None:
        row = await statements.one(self._connection, select(schedules).where(schedules.c.function_id == function_id))
        return _schedule(row) if row else None

    async def list(self) -> Sequence[Schedule]:
        query = select(schedules).order_by(schedules.c.app_id, schedules.c.function_id)
        return [_schedule(row) for row in await self._connection.execute(query)]

    async def of_app(self, app_id: AppId) -> Sequence[Schedule]:
        query = select(schedules).where(schedules.c.app_id == app_id).order_by(schedules.c.function_id)
        return [_schedule(row) for row in await self._connection.execute(query)]

    async def due(self, now: datetime) -> Sequence[Schedule]:
        query = select(schedules).where(schedules.c.next_at <= now).order_by(schedules.c.next_at, schedules.c.function_id)
        return [_schedule(row) for row in await self._connection.execute(query)]

    async def next_at(self) -> datetime | None:
        found: datetime | None = await self._connection.scalar(select(func.min(schedules.c.next_at)))
        return found

    async def advance(self, schedule: Schedule, due_at: datetime) -> bool:
        still_due = update(schedules).where(schedules.c.function_id == schedule.function_id, schedules.c.next_at == due_at)
        changed = await self._connection.execute(still_due.values(_row(schedule)))
        return changed.rowcount == 1

    async def delete(self, function_id: FunctionId) -> None:
        await self._connection.execute(delete(schedules).where(schedules.c.function_id == function_id))


def _row(schedule: Schedule) -> dict[str, Any]:
    return {
        "function_id": schedule.function_id,
        "app_id": schedule.app_id,
        # The anchor is kept with its rule: they change together.
        "rule": _rule_json(schedule.rule) | {"since": schedule.anchor.isoformat()},
        "next_at": schedule.next_at,
        "is_paused": schedule.is_paused,
        "last_due_at": schedule.last_at,
        "last_call_id": schedule.last_call_id or "",
        "missed": schedule.missed,
    }


def _schedule(row: Row[Any]) -> Schedule:
    return Schedule(
        function_id=row.function_id,
        app_id=row.app_id,
        rule=_rule(row.rule),
        anchor=datetime.fromisoformat(row.rule["since"]),
        next_at=row.next_at,
        is_paused=row.is_paused,
        last_at=row.last_due_at,
        last_call_id=row.last_call_id or None,
        missed=row.missed,
    )


def _rule_json(rule: Rule) -> dict[str, Any]:
    return {"cron": rule.text, "timezone": rule.timezone} if isinstance(rule, Cron) else {"period": asdict(rule)}


def _rule(saved: Mapping[str, Any]) -> Rule:
    return Cron(text=saved["cron"], timezone=saved["timezone"]) if "cron" in saved else Period(**saved["period"])
