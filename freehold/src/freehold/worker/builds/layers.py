"""Layers by what makes them: each is made once, whoever asks, and found again by the key of its making."""

import hashlib
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio.to_thread

from freehold.domain.ids import LayerId
from freehold.worker.builds.bench import Bench, Benches
from freehold.worker.locks import KeyedLocks


def layer_key(kind: str, parents: tuple[LayerId, ...], **facts: Any) -> LayerId:
    """A digest of everything that decides what a layer holds. Facts must be JSON values."""
    text = json.dumps([kind, parents, facts], sort_keys=True)
    return LayerId(hashlib.sha256(text.encode()).hexdigest())


class Layers:
    """Finds layers or has them made."""

    def __init__(self, benches: Benches) -> None:
        self._benches = benches
        self._locks = KeyedLocks()

    def has(self, layer: LayerId) -> bool:
        return self._benches.snapshots.has(layer)

    async def ensure(self, layer: LayerId, parents: tuple[LayerId, ...], make: Callable[[Bench], Awaitable[None]]) -> LayerId:
        """The layer, made over its parents if it does not exist. If `make` raises, nothing is left of the try."""
        async with self._locks.hold(layer):
            if not self.has(layer):
                async with self._benches.over(parents) as bench:
                    await make(bench)
                    await bench.keep(layer)
        return layer

    async def ensure_folder(self, layer: LayerId, make: Callable[[Path], Awaitable[None]]) -> LayerId:
        """The layer, assembled by hand in an empty folder if it does not exist: one that needs no image under it."""
        async with self._locks.hold(layer):
            if not self.has(layer):
                await self._assemble(layer, make)
        return layer

    async def _assemble(self, layer: LayerId, make: Callable[[Path], Awaitable[None]]) -> None:
        folder = self._benches.snapshots.staging()
        try:
            await make(folder)
            await anyio.to_thread.run_sync(self._benches.snapshots.adopt, folder, layer)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))
