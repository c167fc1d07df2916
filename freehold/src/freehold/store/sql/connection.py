"""The database on a thread of its own: a statement goes there once and comes back with all its rows, so that the loop waits for no disk."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import CursorResult, Engine, Executable, Row

T = TypeVar("T")

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one statement: its rows, or how many it has changed."""

    rows: Sequence[Row[Any]]
    rowcount: int

    def __iter__(self) -> Iterator[Row[Any]]:
        return iter(self.rows)

    def first(self) -> Row[Any] | None:
        return self.rows[0] if self.rows else None


class Connection:
    """What is asked of it is done one after the other, in the order of asking. The first statement begins a transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._connection: sqlalchemy.Connection

    async def open(self) -> None:
        self._connection = await self._do(self._engine.connect)

    async def close(self) -> None:
        await self._do(self._connection.close)
        await self._do(self._engine.dispose)
        self._thread.shutdown(wait=False)

    async def execute(self, statement: Executable, parameters: Parameters | None = None) -> Outcome:
        """Several parameters are as many executions."""
        return await self.run(lambda connection: _outcome(connection.execute(statement, parameters)))

    async def run(self, work: Callable[[sqlalchemy.Connection], T]) -> T:
        """Several statements as one errand. What they give must be read within it."""
        return await self._do(lambda: work(self._connection))

    async def scalar(self, statement: Executable) -> Any:
        """The first column of the first row; None where there is none."""
        row = (await self.execute(statement)).first()
        return row[0] if row else None

    async def commit(self) -> None:
        """Whoever is cancelled here does not know whether it is on disk."""
        await self._do(self._connection.commit)

    async def rollback(self) -> None:
        """Also where the caller is cancelled meanwhile: after what is being done, and before whatever is asked next."""
        await asyncio.shield(self._do(self._connection.rollback))

    def _do(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)


def _outcome(result: CursorResult[Any]) -> Outcome:
    return Outcome(result.all() if result.returns_rows else (), result.rowcount)
