"""Many small writes as few transactions: what arrives while one is being committed goes into the next, together."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from freehold.domain.errors import ResourceExhausted, Unavailable
from freehold.store.ports import Store, Transaction

log = structlog.get_logger()

Write = Callable[[Transaction], Awaitable[object]]

_MOST = 500  # writes in one transaction: the longest that a write behind it waits
_REFUSALS = (ResourceExhausted, Unavailable)  # of the store itself, whatever is written
_PAUSE = 1.0  # seconds before the store is asked again for what it has refused


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

    async def insist(self, write: Write) -> None:
        """As `write`, for what nobody can be refused any more: while the store is held or its disk is full, it is tried again."""
        while True:
            try:
                return await self.write(write)
            except _REFUSALS as error:
                log.warning("write_delayed", why=str(error))
            await asyncio.sleep(_PAUSE)

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
        """One of many spoilt the transaction: each gets its own. What the store refuses, it refuses to all."""
        if len(batch) == 1 or isinstance(error, _REFUSALS):
            for entry in batch:
                entry.error, entry.is_done = error, True
            return
        for entry in batch:
            await self._commit([entry])
