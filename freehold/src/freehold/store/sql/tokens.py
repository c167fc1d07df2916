"""Clients' tokens in SQL; of their secrets, hashes arrive."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, select

from freehold.domain.ids import TokenId
from freehold.domain.tokens import Token
from freehold.store import missing
from freehold.store.sql import statements
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import tokens


class SqlTokens:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, token: Token) -> None:
        row = {
            "id": token.id,
            "secret_hash": token.secret_hash,
            "created_at": token.created_at,
            "name": token.name,
            "last_used_at": token.last_used_at,
            "expires_at": token.expires_at,
            "is_disabled": token.is_disabled,
        }
        await statements.put(self._connection, tokens, row)

    async def get(self, token_id: TokenId) -> Token:
        query = select(tokens).where(tokens.c.id == token_id)
        return _token(await statements.required(self._connection, query, missing.token(token_id)))

    async def list(self) -> Sequence[Token]:
        newest_first = select(tokens).order_by(tokens.c.created_at.desc(), tokens.c.id.desc())
        return [_token(row) for row in await self._connection.execute(newest_first)]

    async def delete(self, token_id: TokenId) -> None:
        await self._connection.execute(delete(tokens).where(tokens.c.id == token_id))


def _token(row: Row[Any]) -> Token:
    return Token(
        id=row.id,
        secret_hash=row.secret_hash,
        created_at=row.created_at,
        name=row.name,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        is_disabled=row.is_disabled,
    )
