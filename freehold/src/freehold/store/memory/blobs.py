"""Blobs in memory."""

from collections.abc import Sequence
from datetime import datetime

from freehold.store.memory.rows import Rows, Undo


class Blobs:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[str, tuple[str, int, datetime]] = Rows(undo)
        self._aliases: Rows[str, tuple[str, str]] = Rows(undo)

    async def put(self, blob_id: str, size: int, used_at: datetime) -> None:
        self._rows.put(blob_id, (blob_id, size, used_at))

    async def touch(self, blob_ids: Sequence[str], used_at: datetime) -> None:
        for blob_id in blob_ids:
            if (found := self._rows.get(blob_id)) is not None:
                self._rows.put(blob_id, (blob_id, found[1], used_at))

    async def total_bytes(self) -> int:
        return sum(size for _, size, _ in self._rows)

    async def least_recently_used(self, limit: int) -> Sequence[tuple[str, int, datetime]]:
        return sorted(self._rows, key=lambda row: (row[2], row[0]))[:limit]

    async def delete(self, blob_ids: Sequence[str]) -> None:
        for blob_id in blob_ids:
            self._rows.drop(blob_id)
        for alias, blob_id in list(self._aliases):
            if blob_id in blob_ids:
                self._aliases.drop(alias)

    async def put_alias(self, alias: str, blob_id: str) -> None:
        self._aliases.put(alias, (alias, blob_id))

    async def find_alias(self, alias: str) -> str | None:
        found = self._aliases.get(alias)
        return found[1] if found else None
