"""Many small writes as few transactions: what arrives while one is being committed goes into the next, together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from freehold.domain.errors import ResourceExhausted, Unavailable
from freehold.store.ports import Store, Transaction

log = structlog.get_logger()

T = TypeVar("T")

Write = Callable[[Transaction, Sequence[T]], Awaitable[object]]

_MOST = 500  # items in one transaction: the longest that a write behind it waits
_REFUSALS = (ResourceExhausted, Unavailable)  # of the store itself, whatever is written
_PAUSE = 1.0  # seconds before the store is asked again for what it has refused


@dataclass(slots=True, eq=False)
class _Entry(Generic[T]):
    item: T
    is_done: bool = False
    error: Exception | None = None


class GroupCommit(Generic[T]):
    """Whoever comes first commits for all who wait. An item that cannot be written fails alone.

    `write` gets all items of a transaction at once, in the order in which they came; they may come a second time.
    """

    def __init__(self, *, store: Store, write: Write[T]) -> None:
        self._store = store
        self._write = write
        self._waiting: list[_Entry[T]] = []
        self._committing = asyncio.Lock()

    async def put(self, item: T) -> None:
        """Returns when it is on disk; raises what the write or its commit raised."""
        entry = _Entry(item)
        self._waiting.append(entry)
        async with self._committing:
            while not entry.is_done:
                await self._commit_next()
        if entry.error is not None:
            raise entry.error

    async def insist(self, item: T) -> None:
        """As `put`, for what nobody can be refused any more: while the store is held or its disk is full, it is tried again."""
        while True:
            try:
                return await self.put(item)
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

    async def _commit(self, batch: list[_Entry[T]]) -> None:
        try:
            async with self._store.transaction() as tx:
                await self._write(tx, [entry.item for entry in batch])
        except Exception as error:  # noqa: BLE001 — handed to whoever wrote
            await self._fail_or_split(batch, error)
            return
        for entry in batch:
            entry.is_done = True

    async def _fail_or_split(self, batch: list[_Entry[T]], error: Exception) -> None:
        """One of many spoilt the transaction: each gets its own. What the store refuses, it refuses to all."""
        if len(batch) == 1 or isinstance(error, _REFUSALS):
            for entry in batch:
                entry.error, entry.is_done = error, True
            return
        for entry in batch:
            await self._commit([entry])
