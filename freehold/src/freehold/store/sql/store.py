"""The SQL store: one engine, one transaction at a time, migrations on the way up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from freehold.domain.errors import Unavailable
from freehold.domain.figures import Durations
from freehold.store import migrations, ports
from freehold.store.sql import sqlite
from freehold.store.sql.apps import SqlApps
from freehold.store.sql.blobs import SqlBlobs
from freehold.store.sql.calls import SqlCalls
from freehold.store.sql.connection import Connection
from freehold.store.sql.environments import SqlEnvironments
from freehold.store.sql.events import SqlEvents
from freehold.store.sql.functions import SqlFunctions
from freehold.store.sql.images import SqlImages
from freehold.store.sql.metrics import SqlMetrics
from freehold.store.sql.mounts import SqlMounts
from freehold.store.sql.overrides import SqlOverrides
from freehold.store.sql.proxy_tokens import SqlProxyTokens
from freehold.store.sql.schedules import SqlSchedules
from freehold.store.sql.secrets import SqlSecrets
from freehold.store.sql.tasks import SqlTasks
from freehold.store.sql.tokens import SqlTokens
from freehold.store.sql.usage import SqlUsages
from freehold.store.sql.volumes import SqlVolumes

_LONGEST_WAIT = 30.0  # seconds; a transaction takes milliseconds, and one inside another would wait for ever


class SqlTransaction:
    """All aggregates over one connection."""

    def __init__(self, connection: Connection) -> None:
        self.environments: ports.Environments = SqlEnvironments(connection)
        self.apps: ports.Apps = SqlApps(connection)
        self.functions: ports.Functions = SqlFunctions(connection)
        self.overrides: ports.Overrides = SqlOverrides(connection)
        self.calls: ports.Calls = SqlCalls(connection)
        self.images: ports.Images = SqlImages(connection)
        self.mounts: ports.Mounts = SqlMounts(connection)
        self.secrets: ports.Secrets = SqlSecrets(connection)
        self.volumes: ports.Volumes = SqlVolumes(connection)
        self.tokens: ports.Tokens = SqlTokens(connection)
        self.proxy_tokens: ports.ProxyTokens = SqlProxyTokens(connection)
        self.schedules: ports.Schedules = SqlSchedules(connection)
        self.tasks: ports.Tasks = SqlTasks(connection)
        self.blobs: ports.Blobs = SqlBlobs(connection)
        self.events: ports.Events = SqlEvents(connection)
        self.usages: ports.Usages = SqlUsages(connection)
        self.metrics: ports.Metrics = SqlMetrics(connection)


class SqlStore:
    """A store in one SQLite file.

    There is a single connection: SQLite has one writer anyway, and waiting here for one's turn is fair, bounded and never ends in
    `database is locked`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()
        self.commits = Durations()

    async def open(self) -> None:
        await asyncio.to_thread(self._prepare)
        engine = create_engine(sqlite.url(self._path))
        sqlite.configure(engine)
        connection = Connection(engine)
        await connection.open()
        self._connection = connection

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlTransaction]:
        if self._connection is None:
            msg = "The store is closed: the engine is starting or stopping. Try again."
            raise Unavailable(msg)
        await self._wait_for_turn()
        try:
            async with self._committing(self._connection):
                yield SqlTransaction(self._connection)
        except OperationalError as error:
            if (refusal := sqlite.refusal_of(error, self._path)) is None:
                raise
            raise refusal from error
        finally:
            self._turn.release()

    @asynccontextmanager
    async def _committing(self, connection: Connection) -> AsyncIterator[None]:
        """The block's statements, all or none."""
        try:
            yield
            done = time.perf_counter()
            await connection.commit()
        except BaseException:
            await connection.rollback()
            raise
        self.commits.add(time.perf_counter() - done)

    async def _wait_for_turn(self) -> None:
        try:
            async with asyncio.timeout(_LONGEST_WAIT):
                await self._turn.acquire()
        except TimeoutError as error:
            msg = f"The store was busy for {_LONGEST_WAIT:.0f} seconds. Try again."
            raise Unavailable(msg) from error

    def _prepare(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        migrations.upgrade(sqlite.url(self._path))
