"""Sizes, last uses and aliases of blobs in SQL."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, delete, func, select, update

from freehold.store.sql import statements
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import blob_aliases, blobs

_TOUCH = update(blobs).where(blobs.c.id == bindparam("blob_id")).values(used_at=bindparam("at"))
_FORGET = delete(blobs).where(blobs.c.id == bindparam("blob_id"))
_FORGET_ALIASES = delete(blob_aliases).where(blob_aliases.c.blob_id == bindparam("blob_id"))


class SqlBlobs:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, blob_id: str, size: int, used_at: datetime) -> None:
        await statements.put(self._connection, blobs, {"id": blob_id, "size": size, "used_at": used_at})

    async def touch(self, blob_ids: Sequence[str], used_at: datetime) -> None:
        if blob_ids:
            await self._connection.execute(_TOUCH, [{"blob_id": blob_id, "at": used_at} for blob_id in blob_ids])

    async def total_bytes(self) -> int:
        total = await self._connection.scalar(select(func.coalesce(func.sum(blobs.c.size), 0)))
        return int(total or 0)

    async def least_recently_used(self, limit: int) -> Sequence[tuple[str, int, datetime]]:
        query = select(blobs).order_by(blobs.c.used_at, blobs.c.id).limit(limit)
        return [(row.id, row.size, row.used_at) for row in await self._connection.execute(query)]

    async def delete(self, blob_ids: Sequence[str]) -> None:
        if blob_ids:
            rows = [{"blob_id": blob_id} for blob_id in blob_ids]
            await self._connection.execute(_FORGET, rows)
            await self._connection.execute(_FORGET_ALIASES, rows)

    async def put_alias(self, alias: str, blob_id: str) -> None:
        await statements.put(self._connection, blob_aliases, {"id": alias, "blob_id": blob_id})

    async def find_alias(self, alias: str) -> str | None:
        row = await statements.one(self._connection, select(blob_aliases).where(blob_aliases.c.id == alias))
        return row.blob_id if row else None
