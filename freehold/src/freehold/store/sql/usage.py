"""Usage in SQL: a row for each hour, function and resource, and for each call or task and resource."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Select, Table, delete, func, literal, select, type_coerce
from sqlalchemy.dialects.sqlite import Insert, insert

from freehold.domain.ids import AppId, FunctionId
from freehold.domain.usage import FunctionUsage, Total, Usage
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import Moment, usage_hours, usage_totals

_MICROSECOND = timedelta(microseconds=1)


class SqlUsages:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, hourly: Sequence[FunctionUsage], totals: Mapping[str, Usage], at: datetime) -> None:
        hours = [
            {"hour": row.begins_at, "app_id": row.app_id, "function_id": row.function_id, "resource": resource, "amount": amount}
            for row in hourly
            for resource, amount in row.usage.amounts().items()
        ]
        sums = [
            {"subject": subject, "resource": resource, "amount": amount, "at": at}
            for subject, usage in totals.items()
            for resource, amount in usage.amounts().items()
        ]
        for table, rows in ((usage_hours, hours), (usage_totals, sums)):
            if rows:
                await self._connection.execute(_add(table), rows)

    async def sums(
        self,
        since: datetime,
        until: datetime,
        *,
        step: timedelta | None = None,
        app_id: str = "",
        function_ids: Sequence[FunctionId] | None = None,
    ) -> Sequence[FunctionUsage]:
        amounts: dict[tuple[datetime, str, str], dict[str, float]] = defaultdict(dict)
        for row in await self._connection.execute(_sums(since, until, step, app_id, function_ids)):
            amounts[row.begins_at, row.app_id, row.function_id][row.resource] = row.amount
        return [
            FunctionUsage(begins_at=at, app_id=AppId(app), function_id=FunctionId(function), usage=Usage.of_amounts(found))
            for (at, app, function), found in sorted(amounts.items())
        ]

    async def totals(self, subjects: Sequence[str]) -> Mapping[str, Total]:
        amounts: dict[str, dict[str, float]] = defaultdict(dict)
        last: dict[str, datetime] = {}
        for row in await self._connection.execute(select(usage_totals).where(usage_totals.c.subject.in_(subjects))):
            amounts[row.subject][row.resource] = row.amount
            last[row.subject] = max(row.at, last.get(row.subject, row.at))
        return {subject: Total(usage=Usage.of_amounts(found), at=last[subject]) for subject, found in amounts.items()}

    async def delete_before(self, *, hours: datetime, totals: datetime) -> None:
        await self._connection.execute(delete(usage_hours).where(usage_hours.c.hour < hours))
        await self._connection.execute(delete(usage_totals).where(usage_totals.c.at < totals))


def _sums(since: datetime, until: datetime, step: timedelta | None, app_id: str, function_ids: Sequence[FunctionId] | None) -> Select[Any]:
    table = usage_hours.c
    hour = type_coerce(table.hour, BigInteger)
    width = step // _MICROSECOND if step else 0
    begins_at = type_coerce(hour - hour % width, Moment) if step else literal(since, Moment)
    keys = (begins_at.label("begins_at"), table.app_id, table.function_id, table.resource)
    query = select(*keys, func.sum(table.amount).label("amount")).where(table.hour >= since, table.hour < until)
    if app_id:
        query = query.where(table.app_id == app_id)
    if function_ids is not None:
        query = query.where(table.function_id.in_(function_ids))
    return query.group_by("begins_at", table.app_id, table.function_id, table.resource)


@cache
def _add(table: Table) -> Insert:
    """The amount is added to what there is; the rest is replaced."""
    new = insert(table)
    others = {column.name: new.excluded[column.name] for column in table.columns if not column.primary_key}
    return new.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_={**others, "amount": table.c.amount + new.excluded.amount}
    )
