"""Environments in SQL."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, select

from freehold.domain.environments import Environment
from freehold.store import missing
from freehold.store.sql import statements
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import environments


class SqlEnvironments:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, environment: Environment) -> None:
        row = {
            "id": environment.id,
            "name": environment.name,
            "created_at": environment.created_at,
            "web_suffix": environment.web_suffix,
        }
        await statements.put(self._connection, environments, row)

    async def find(self, name: str) -> Environment | None:
        row = await statements.one(self._connection, select(environments).where(environments.c.name == name))
        return _environment(row) if row else None

    async def get(self, name: str) -> Environment:
        query = select(environments).where(environments.c.name == name)
        return _environment(await statements.required(self._connection, query, missing.environment(name)))

    async def list(self) -> Sequence[Environment]:
        rows = await self._connection.execute(select(environments).order_by(environments.c.name))
        return [_environment(row) for row in rows]

    async def delete(self, name: str) -> None:
        await self._connection.execute(delete(environments).where(environments.c.name == name))


def _environment(row: Row[Any]) -> Environment:
    return Environment(id=row.id, name=row.name, created_at=row.created_at, web_suffix=row.web_suffix)
