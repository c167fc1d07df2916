"""A root filesystem to work on: run commands in it, then keep the changes as a layer or throw them away."""

import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from freehold.domain.ids import LayerId
from freehold.domain.logs import LogSource
from freehold.wire.worker import Limits
from freehold.worker.builds.rootfs import resolve
from freehold.worker.logs import ContainerLog
from freehold.worker.ports import Bind, Container, ContainerExit, ContainerSpec, Equipment, Networks, Runtime, Snapshotter


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False, default_factory=dict)
    cwd: str = "/"
    user: str = ""
    binds: tuple[Bind, ...] = ()
    limits: Limits = field(default_factory=Limits)
    network: bool = True
    equipment: Equipment = field(default_factory=Equipment)


class Bench:
    """One mounted root. It is gone when its block ends, unless `keep` made a layer of it."""

    def __init__(self, *, key: str, rootfs: Path, snapshots: Snapshotter, runtime: Runtime, networks: Networks) -> None:
        self.rootfs = rootfs
        self._key = key
        self._snapshots = snapshots
        self._runtime = runtime
        self._networks = networks

    async def run(self, command: Command, output: ContainerLog) -> ContainerExit:
        """Run to the end, handing over output as it comes. Afterwards no trace of the binds is left in the root."""
        traces = await anyio.to_thread.run_sync(_missing_targets, self.rootfs, (*command.binds, *command.equipment.binds))
        try:
            async with self._network(command) as netns:
                return await self._run(command, netns, output)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_remove_empty, traces)

    async def keep(self, layer: LayerId) -> None:
        """Make the changes a layer. The root is no longer mounted afterwards."""
        await self._snapshots.unmount(self._key)
        await self._snapshots.commit(self._key, layer)

    @asynccontextmanager
    async def _network(self, command: Command) -> AsyncIterator[str | None]:
        if not command.network:
            yield None
            return
        try:
            yield await self._networks.create(self._key, outbound=True)
        finally:
            with anyio.CancelScope(shield=True):
                await self._networks.remove(self._key)

    async def _run(self, command: Command, netns: str | None, output: ContainerLog) -> ContainerExit:
        pipes = {source: os.pipe() for source in (LogSource.STDOUT, LogSource.STDERR)}
        try:
            container = await self._runtime.start(self._spec(command, netns, *(writing for _, writing in pipes.values())))
        except BaseException:
            for reading, _ in pipes.values():
                os.close(reading)
            raise
        finally:
            for _, writing in pipes.values():
                os.close(writing)
        return await _finish(container, {source: reading for source, (reading, _) in pipes.items()}, output)

    def _spec(self, command: Command, netns: str | None, stdout: int, stderr: int) -> ContainerSpec:
        return ContainerSpec(
            id=self._key,
            rootfs=self.rootfs,
            argv=command.argv,
            stdout=stdout,
            stderr=stderr,
            env=command.env,
            cwd=command.cwd,
            user=command.user,
            binds=command.binds,
            limits=command.limits,
            netns=netns,
            equipment=command.equipment,
        )


class Benches:
    """Makes benches. Names are fresh each time: what is unfinished is worth nothing to a later try."""

    def __init__(self, *, snapshots: Snapshotter, runtime: Runtime, networks: Networks) -> None:
        self.snapshots = snapshots
        self._runtime = runtime
        self._networks = networks

    @asynccontextmanager
    async def over(self, layers: tuple[LayerId, ...], extra: tuple[Path, ...] = ()) -> AsyncIterator[Bench]:
        key = f"build-{uuid.uuid4().hex[:16]}"
        try:
            rootfs = await self.snapshots.mount(key, layers, extra)
            yield Bench(key=key, rootfs=rootfs, snapshots=self.snapshots, runtime=self._runtime, networks=self._networks)
        finally:
            with anyio.CancelScope(shield=True):
                await self.snapshots.remove(key)


async def _finish(container: Container, pipes: Mapping[LogSource, int], output: ContainerLog) -> ContainerExit:
    """The end of a container closes the pipes that only it had open, so the readers end with it."""
    try:
        await output.read(pipes)
        return await container.wait()
    finally:
        with anyio.CancelScope(shield=True):
            await container.destroy()


def _missing_targets(rootfs: Path, binds: tuple[Bind, ...]) -> list[Path]:
    """What the runtime will make in the root so that it can bind: the missing targets with their missing parents, deepest first."""
    missing = set()
    for bind in binds:
        place = resolve(rootfs, bind.target)
        while not place.exists():
            missing.add(place)
            place = place.parent
    return sorted(missing, key=lambda place: len(place.parts), reverse=True)


def _remove_empty(places: list[Path]) -> None:
    for place in places:
        try:
            place.rmdir() if place.is_dir() else place.unlink(missing_ok=True)
        except OSError:  # the step put something beside the bind: that is part of the layer
            continue
