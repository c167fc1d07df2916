"""Mounts in SQL. A tree of files is kept once, however many mounts show it."""

from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy import Row, Select, select

from freehold.domain.files import FileTree, Mount, TreeFile
from freehold.domain.ids import MountId
from freehold.store import missing
from freehold.store.sql import statements
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import mounts, trees

_WITH_TREE = select(mounts, trees.c.files).join(trees)


class SqlMounts:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, mount: Mount) -> None:
        tree = {"id": mount.tree.id, "files": [[file.path, file.digest, file.mode] for file in mount.tree.files]}
        await statements.put(self._connection, trees, tree)
        row = {
            "id": mount.id,
            "tree_id": mount.tree.id,
            "created_at": mount.created_at,
            "name": mount.name,
            "app_id": mount.app_id,
        }
        await statements.put(self._connection, mounts, row)

    async def get(self, mount_id: MountId) -> Mount:
        query = _WITH_TREE.where(mounts.c.id == mount_id)
        return _mount(await statements.required(self._connection, query, missing.mount(mount_id)))

    async def find_by_tree(self, tree_id: str) -> Mount | None:
        return await self._first(_WITH_TREE.where(mounts.c.tree_id == tree_id))

    async def find_by_name(self, name: str) -> Mount | None:
        return await self._first(_WITH_TREE.where(mounts.c.name == name))

    async def digests(self) -> AbstractSet[str]:
        rows = await self._connection.execute(select(trees.c.files))
        return {digest for (files,) in rows for _, digest, _ in files}

    async def _first(self, query: Select[Any]) -> Mount | None:
        newest = query.order_by(mounts.c.created_at.desc(), mounts.c.id.desc())
        row = await statements.one(self._connection, newest)
        return _mount(row) if row else None


def _mount(row: Row[Any]) -> Mount:
    files = tuple(TreeFile(path=path, digest=digest, mode=mode) for path, digest, mode in row.files)
    return Mount(
        id=row.id,
        tree=FileTree(id=row.tree_id, files=files),
        created_at=row.created_at,
        name=row.name,
        app_id=row.app_id,
    )
