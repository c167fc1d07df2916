"""Secrets in memory."""

from collections.abc import Sequence

from freehold.domain.ids import SecretId
from freehold.domain.secrets import Secret
from freehold.store import missing
from freehold.store.memory.rows import Rows, Undo, required


class Secrets:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[str, Secret] = Rows(undo)

    async def put(self, secret: Secret) -> None:
        self._rows.put(secret.id, secret)

    async def get(self, secret_id: SecretId) -> Secret:
        return required(self._rows.get(secret_id), missing.secret(secret_id))

    async def find(self, environment: str, name: str) -> Secret | None:
        return next((row for row in self._rows if (row.environment, row.name) == (environment, name)), None)

    async def list(self, environment: str) -> Sequence[Secret]:
        found = [row for row in self._rows if row.environment == environment and row.name]
        return sorted(found, key=lambda row: (row.created_at, row.id), reverse=True)

    async def delete(self, secret_id: SecretId) -> None:
        self._rows.drop(secret_id)
