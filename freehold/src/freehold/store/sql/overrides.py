"""Autoscaler settings that were changed while their function runs, in SQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select

from freehold.domain.ids import FunctionId
from freehold.domain.overrides import AutoscalerOverride
from freehold.store.sql import statements
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import autoscaler_overrides as overrides


class SqlOverrides:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, function_id: FunctionId, override: AutoscalerOverride) -> None:
        settings = {name: [value, override.changed_at[name].isoformat()] for name, value in override.values.items()}
        await statements.put(self._connection, overrides, {"function_id": function_id, "settings": settings})

    async def find(self, function_id: FunctionId) -> AutoscalerOverride | None:
        row = await statements.one(self._connection, select(overrides).where(overrides.c.function_id == function_id))
        return _override(row.settings) if row else None

    async def function_ids(self) -> Sequence[FunctionId]:
        query = select(overrides.c.function_id).order_by(overrides.c.function_id)
        return [row.function_id for row in await self._connection.execute(query)]

    async def delete(self, function_ids: Sequence[FunctionId]) -> None:
        await self._connection.execute(delete(overrides).where(overrides.c.function_id.in_(function_ids)))


def _override(settings: Mapping[str, Any]) -> AutoscalerOverride:
    return AutoscalerOverride(
        values={name: value for name, (value, _) in settings.items()},
        changed_at={name: datetime.fromisoformat(at) for name, (_, at) in settings.items()},
    )
