"""Environments in memory."""

from collections.abc import Sequence

from freehold.domain.environments import Environment
from freehold.store import missing
from freehold.store.memory.rows import Rows, Undo, required


class Environments:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[str, Environment] = Rows(undo)

    async def put(self, environment: Environment) -> None:
        self._rows.put(environment.id, environment)

    async def find(self, name: str) -> Environment | None:
        return next((row for row in self._rows if row.name == name), None)

    async def get(self, name: str) -> Environment:
        return required(await self.find(name), missing.environment(name))

    async def list(self) -> Sequence[Environment]:
        return sorted(self._rows, key=lambda row: row.name)

    async def delete(self, name: str) -> None:
        found = await self.find(name)
        if found is not None:
            self._rows.drop(found.id)
