"""Proxy tokens in SQL; of their secrets, hashes arrive."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, select

from freehold.domain.ids import ProxyTokenId
from freehold.domain.proxy_tokens import ProxyToken
from freehold.store import missing
from freehold.store.sql import statements
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import proxy_tokens


class SqlProxyTokens:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, token: ProxyToken) -> None:
        row = {
            "id": token.id,
            "secret_hash": token.secret_hash,
            "created_at": token.created_at,
            "name": token.name,
            "is_scoped": token.is_scoped,
            "environment_ids": list(token.environment_ids),
        }
        await statements.put(self._connection, proxy_tokens, row)

    async def get(self, token_id: ProxyTokenId) -> ProxyToken:
        query = select(proxy_tokens).where(proxy_tokens.c.id == token_id)
        return _token(await statements.required(self._connection, query, missing.proxy_token(token_id)))

    async def list(self) -> Sequence[ProxyToken]:
        newest_first = select(proxy_tokens).order_by(proxy_tokens.c.created_at.desc(), proxy_tokens.c.id.desc())
        return [_token(row) for row in await self._connection.execute(newest_first)]

    async def delete(self, token_id: ProxyTokenId) -> None:
        await self._connection.execute(delete(proxy_tokens).where(proxy_tokens.c.id == token_id))


def _token(row: Row[Any]) -> ProxyToken:
    return ProxyToken(
        id=row.id,
        secret_hash=row.secret_hash,
        created_at=row.created_at,
        name=row.name,
        is_scoped=row.is_scoped,
        environment_ids=tuple(row.environment_ids),
    )
