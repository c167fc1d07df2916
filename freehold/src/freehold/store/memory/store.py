"""The store in memory: real behaviour without a disk, for tests and for trying things. Nothing survives the process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from freehold.domain.errors import Unavailable
from freehold.store import ports
from freehold.store.memory.apps import Apps
from freehold.store.memory.blobs import Blobs
from freehold.store.memory.calls import Calls
from freehold.store.memory.environments import Environments
from freehold.store.memory.events import Events
from freehold.store.memory.functions import Functions
from freehold.store.memory.images import Images
from freehold.store.memory.metrics import Metrics
from freehold.store.memory.mounts import Mounts
from freehold.store.memory.overrides import Overrides
from freehold.store.memory.proxy_tokens import ProxyTokens
from freehold.store.memory.rows import Undo
from freehold.store.memory.schedules import Schedules
from freehold.store.memory.secrets import Secrets
from freehold.store.memory.tasks import Tasks
from freehold.store.memory.tokens import Tokens
from freehold.store.memory.usage import Usages
from freehold.store.memory.volumes import Volumes

_LONGEST_WAIT = 30.0  # seconds; a transaction takes milliseconds, and one inside another would wait for ever


class MemoryTransaction:
    """All aggregates over one list of what to take back if the block fails."""

    def __init__(self, undo: Undo) -> None:
        self.environments: ports.Environments = Environments(undo)
        self.apps: ports.Apps = Apps(undo)
        self.functions: ports.Functions = Functions(undo)
        self.overrides: ports.Overrides = Overrides(undo)
        self.calls: ports.Calls = Calls(undo)
        self.images: ports.Images = Images(undo)
        self.mounts: ports.Mounts = Mounts(undo)
        self.secrets: ports.Secrets = Secrets(undo)
        self.volumes: ports.Volumes = Volumes(undo)
        self.proxy_tokens: ports.ProxyTokens = ProxyTokens(undo)
        self.tokens: ports.Tokens = Tokens(undo)
        self.schedules: ports.Schedules = Schedules(undo)
        self.tasks: ports.Tasks = Tasks(undo)
        self.blobs: ports.Blobs = Blobs(undo)
        self.events: ports.Events = Events(undo)
        self.usages: ports.Usages = Usages(undo)
        self.metrics: ports.Metrics = Metrics(undo)


class MemoryStore:
    def __init__(self) -> None:
        self._undo: Undo = []
        self._everything = MemoryTransaction(self._undo)
        self._one_at_a_time = anyio.Lock()

    async def open(self) -> None:
        """Nothing to prepare."""

    async def close(self) -> None:
        async with self._one_at_a_time:
            pass

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        await self._acquire()
        try:
            yield self._everything
        except BaseException:
            for take_back in reversed(self._undo):
                take_back()
            raise
        finally:
            self._undo.clear()
            self._one_at_a_time.release()

    async def _acquire(self) -> None:
        try:
            with anyio.fail_after(_LONGEST_WAIT):
                await self._one_at_a_time.acquire()
        except TimeoutError as error:
            msg = f"The store was busy for {_LONGEST_WAIT:.0f} seconds. Try again."
            raise Unavailable(msg) from error
