"""Volumes in memory."""

from collections.abc import Sequence

from freehold.domain.ids import VolumeId
from freehold.domain.volumes import Volume
from freehold.store import missing
from freehold.store.memory.rows import Rows, Undo, required


class Volumes:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[str, Volume] = Rows(undo)

    async def put(self, volume: Volume) -> None:
        self._rows.put(volume.id, volume)

    async def get(self, volume_id: VolumeId) -> Volume:
        return required(self._rows.get(volume_id), missing.volume(volume_id))

    async def find(self, environment: str, name: str) -> Volume | None:
        return next((row for row in await self.list(environment) if row.name == name), None)

    async def list(self, environment: str) -> Sequence[Volume]:
        found = [row for row in self._rows if row.environment == environment and row.name]
        return sorted(found, key=lambda row: (row.created_at, row.id), reverse=True)

    async def ephemeral(self) -> Sequence[Volume]:
        return sorted((row for row in self._rows if not row.name), key=lambda row: row.id)

    async def delete(self, volume_id: VolumeId) -> None:
        self._rows.drop(volume_id)
