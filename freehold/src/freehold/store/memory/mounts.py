"""Mounts in memory."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from freehold.domain.files import Mount
from freehold.domain.ids import MountId
from freehold.store import missing
from freehold.store.memory.rows import Rows, Undo, required


class Mounts:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[str, Mount] = Rows(undo)

    async def put(self, mount: Mount) -> None:
        self._rows.put(mount.id, mount)

    async def get(self, mount_id: MountId) -> Mount:
        return required(self._rows.get(mount_id), missing.mount(mount_id))

    async def find_by_tree(self, tree_id: str) -> Mount | None:
        return self._newest(row for row in self._rows if row.tree.id == tree_id)

    async def find_by_name(self, name: str) -> Mount | None:
        return self._newest(row for row in self._rows if row.name == name)

    @staticmethod
    def _newest(rows: Iterator[Mount]) -> Mount | None:
        return max(rows, key=lambda row: (row.created_at, row.id), default=None)

    async def digests(self) -> AbstractSet[str]:
        return {file.digest for row in self._rows for file in row.tree.files}
