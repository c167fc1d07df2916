"""Proxy tokens in memory."""

from collections.abc import Sequence

from freehold.domain.ids import ProxyTokenId
from freehold.domain.proxy_tokens import ProxyToken
from freehold.store import missing
from freehold.store.memory.rows import Rows, Undo, required


class ProxyTokens:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[str, ProxyToken] = Rows(undo)

    async def put(self, token: ProxyToken) -> None:
        self._rows.put(token.id, token)

    async def get(self, token_id: ProxyTokenId) -> ProxyToken:
        return required(self._rows.get(token_id), missing.proxy_token(token_id))

    async def list(self) -> Sequence[ProxyToken]:
        return sorted(self._rows, key=lambda row: (row.created_at, row.id), reverse=True)

    async def delete(self, token_id: ProxyTokenId) -> None:
        self._rows.drop(token_id)
