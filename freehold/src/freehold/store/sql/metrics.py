"""What functions did, in buckets of time, in SQL."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select

from freehold.domain.figures import BOUNDS, NOTHING, STATUS_CLASSES, Figures, Histogram
from freehold.domain.ids import FunctionId
from freehold.domain.rollups import Bucket
from freehold.store.sql import statements
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import metrics

_NAMES = [field.name for field in fields(Figures)]
_KNOWN = frozenset(_NAMES)


class SqlMetrics:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, buckets: Sequence[Bucket]) -> None:
        await statements.put_all(self._connection, metrics, [_row(bucket) for bucket in buckets])

    async def between(
        self, width: int, since: datetime, until: datetime, function_ids: Collection[FunctionId] | None = None
    ) -> Sequence[Bucket]:
        query = select(metrics).where(metrics.c.width == width, metrics.c.start >= since, metrics.c.start < until)
        if function_ids is not None:
            query = query.where(metrics.c.function_id.in_(function_ids))
        ordered = query.order_by(metrics.c.start, metrics.c.function_id)
        return [_bucket(row) for row in await self._connection.execute(ordered)]

    async def delete_before(self, width: int, moment: datetime) -> int:
        old = (metrics.c.width == width) & (metrics.c.start < moment)
        return (await self._connection.execute(delete(metrics).where(old))).rowcount


def _row(bucket: Bucket) -> dict[str, Any]:
    return {
        "width": bucket.width,
        "function_id": bucket.function_id,
        "start": bucket.start,
        "app_id": bucket.app_id,
        "figures": _packed(bucket.figures),
    }


def _bucket(row: Row[Any]) -> Bucket:
    return Bucket(function_id=row.function_id, app_id=row.app_id, start=row.start, width=row.width, figures=_figures(row.figures))


def _packed(figures: Figures) -> dict[str, Any]:
    """Without what is nothing: most of it is."""
    return {name: _told(value) for name in _NAMES if (value := getattr(figures, name)) != getattr(NOTHING, name)}


def _told(value: int | tuple[int, ...] | Histogram) -> Any:
    """Of a tuple, what is not 0: index → value."""
    if isinstance(value, Histogram):
        return [_told(value.counts), value.total]
    if isinstance(value, tuple):
        return {str(index): count for index, count in enumerate(value) if count}
    return value


def _figures(packed: Mapping[str, Any]) -> Figures:
    """Names that a later engine knows are passed over."""
    return Figures(**{name: _value(told) for name, told in packed.items() if name in _KNOWN})


def _value(told: Any) -> Any:
    if isinstance(told, list):
        return Histogram(_tuple(told[0], len(BOUNDS) + 1), told[1])
    return _tuple(told, STATUS_CLASSES) if isinstance(told, dict) else told


def _tuple(told: Mapping[str, int], length: int) -> tuple[int, ...]:
    counts = [0] * length
    for index, count in told.items():
        counts[int(index)] = count
    return tuple(counts)
