"""Volumes in SQL; what is in them is in folders."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, select

from freehold.domain.ids import VolumeId
from freehold.domain.volumes import Volume
from freehold.store import missing
from freehold.store.sql import statements
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import volumes


class SqlVolumes:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, volume: Volume) -> None:
        row = {
            "id": volume.id,
            "environment": volume.environment,
            "name": volume.name,
            "version": volume.version,
            "created_at": volume.created_at,
        }
        await statements.put(self._connection, volumes, row)

    async def get(self, volume_id: VolumeId) -> Volume:
        query = select(volumes).where(volumes.c.id == volume_id)
        return _volume(await statements.required(self._connection, query, missing.volume(volume_id)))

    async def find(self, environment: str, name: str) -> Volume | None:
        query = select(volumes).where(volumes.c.environment == environment, volumes.c.name == name, volumes.c.name != "")
        row = await statements.one(self._connection, query)
        return _volume(row) if row else None

    async def list(self, environment: str) -> Sequence[Volume]:
        named = select(volumes).where(volumes.c.environment == environment, volumes.c.name != "")
        rows = await self._connection.execute(named.order_by(volumes.c.created_at.desc(), volumes.c.id.desc()))
        return [_volume(row) for row in rows]

    async def ephemeral(self) -> Sequence[Volume]:
        rows = await self._connection.execute(select(volumes).where(volumes.c.name == "").order_by(volumes.c.id))
        return [_volume(row) for row in rows]

    async def delete(self, volume_id: VolumeId) -> None:
        await self._connection.execute(delete(volumes).where(volumes.c.id == volume_id))


def _volume(row: Row[Any]) -> Volume:
    return Volume(id=row.id, environment=row.environment, name=row.name, version=row.version, created_at=row.created_at)
