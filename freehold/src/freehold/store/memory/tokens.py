"""Tokens in memory."""

from collections.abc import Sequence

from freehold.domain.ids import TokenId
from freehold.domain.tokens import Token
from freehold.store import missing
from freehold.store.memory.rows import Rows, Undo, required


class Tokens:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[str, Token] = Rows(undo)

    async def put(self, token: Token) -> None:
        self._rows.put(token.id, token)

    async def get(self, token_id: TokenId) -> Token:
        return required(self._rows.get(token_id), missing.token(token_id))

    async def list(self) -> Sequence[Token]:
        return sorted(self._rows, key=lambda row: (row.created_at, row.id), reverse=True)

    async def delete(self, token_id: TokenId) -> None:
        self._rows.drop(token_id)
