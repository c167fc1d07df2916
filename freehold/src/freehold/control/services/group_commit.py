"""Many small writes as few transactions: what arrives while one is being committed goes into the next, together."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from freehold.store.ports import Store, Transaction

Write = Callable[[Transaction], Awaitable[object]]

_MOST = 500  # writes in one transaction: the longest that a write behind it waits


@dataclass(slots=True, eq=False)
class _Entry:
    write: Write
    is_done: bool = False
    error: Exception | None = None


class GroupCommit:
    """Whoever comes first commits for all who wait. A write that fails fails alone."""

    def __init__(self, *, store: Store) -> None:
        self._store = store
        self._waiting: list[_Entry] = []
        self._committing = asyncio.Lock()

    async def write(self, write: Write) -> None:
        """Returns when it is on disk; raises what the write or its commit raised."""
        entry = _Entry(write)
        self._waiting.append(entry)
        async with self._committing:
            while not entry.is_done:
                await self._commit_next()
        if entry.error is not None:
            raise entry.error

    async def _commit_next(self) -> None:
        batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        try:
            await self._commit(batch)
        finally:
            # A cancelled committer leaves what it could not do to the next.
            self._waiting[:0] = [entry for entry in batch if not entry.is_done]

    async def _commit(self, batch: list[_Entry]) -> None:
        try:
            async with self._store.transaction() as tx:
                for entry in batch:
                    await entry.write(tx)
        except Exception as error:  # noqa: BLE001 — handed to whoever wrote
            await self._fail_or_split(batch, error)
            return
        for entry in batch:
            entry.is_done = True

    async def _fail_or_split(self, batch: list[_Entry], error: Exception) -> None:
        """One of many spoilt the transaction: each gets its own."""
        if len(batch) == 1:
            batch[0].error, batch[0].is_done = error, True
            return
        for entry in batch:
            await self._commit([entry])
