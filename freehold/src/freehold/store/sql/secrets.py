"""Secrets in SQL; their values arrive sealed."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, select

from freehold.domain.ids import SecretId
from freehold.domain.secrets import Secret
from freehold.store import missing
from freehold.store.sql import statements
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import secrets


class SqlSecrets:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, secret: Secret) -> None:
        await statements.put(self._connection, secrets, _row(secret))

    async def get(self, secret_id: SecretId) -> Secret:
        row = await statements.required(self._connection, select(secrets).where(secrets.c.id == secret_id), missing.secret(secret_id))
        return _secret(row)

    async def find(self, environment: str, name: str) -> Secret | None:
        query = select(secrets).where(secrets.c.environment == environment, secrets.c.name == name)
        row = await statements.one(self._connection, query)
        return _secret(row) if row else None

    async def list(self, environment: str) -> Sequence[Secret]:
        named = select(secrets).where(secrets.c.environment == environment, secrets.c.name != "")
        rows = await self._connection.execute(named.order_by(secrets.c.created_at.desc(), secrets.c.id.desc()))
        return [_secret(row) for row in rows]

    async def delete(self, secret_id: SecretId) -> None:
        await self._connection.execute(delete(secrets).where(secrets.c.id == secret_id))


def _row(secret: Secret) -> dict[str, Any]:
    return {
        "id": secret.id,
        "environment": secret.environment,
        "name": secret.name,
        "keys": list(secret.keys),
        "sealed": secret.sealed,
        "created_at": secret.created_at,
        "last_used_at": secret.last_used_at,
        "app_id": secret.app_id,
    }


def _secret(row: Row[Any]) -> Secret:
    columns = row._mapping  # noqa: SLF001 — public; a row's own `keys` would hide the column
    return Secret(
        id=row.id,
        environment=row.environment,
        name=row.name,
        keys=tuple(columns["keys"]),
        sealed=row.sealed,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        app_id=row.app_id,
    )
