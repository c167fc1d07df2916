"""Metrics in memory."""

from collections.abc import Collection, Sequence
from datetime import datetime

from freehold.domain.ids import FunctionId
from freehold.domain.rollups import Bucket
from freehold.store.memory.rows import Rows, Undo


class Metrics:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[tuple[int, FunctionId, datetime], Bucket] = Rows(undo)

    async def put(self, buckets: Sequence[Bucket]) -> None:
        for bucket in buckets:
            self._rows.put((bucket.width, bucket.function_id, bucket.start), bucket)

    async def between(
        self, width: int, since: datetime, until: datetime, function_ids: Collection[FunctionId] | None = None
    ) -> Sequence[Bucket]:
        found = [row for row in self._rows if row.width == width and since <= row.start < until]
        wanted = [row for row in found if function_ids is None or row.function_id in function_ids]
        return sorted(wanted, key=lambda row: (row.start, row.function_id))

    async def delete_before(self, width: int, moment: datetime) -> int:
        old = [key for key, row in self._rows.items() if row.width == width and row.start < moment]
        for key in old:
            self._rows.drop(key)
        return len(old)
