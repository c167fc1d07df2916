"""What a container needs on the machine before it runs: a root, a network and the few files of ours."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio.to_thread
from anyio.abc import TaskGroup

from freehold.wire.worker import TaskSpec
from freehold.worker import launch
from freehold.worker.ground import Ground, tidy
from freehold.worker.ports import Bind, ContainerSpec, Equipment


@dataclass(frozen=True, slots=True, kw_only=True)
class Berth:
    """Everything about it is found by its id, but the files, which move to their task's when it gets one."""

    id: str
    folder: Path
    rootfs: Path
    netns: str
    binds: tuple[Bind, ...]
    written: tuple[Path, ...]  # folders over the root that are of a snapshot, not of every such task
    equipment: Equipment

    def container(
        self, task: TaskSpec, argv: tuple[str, ...] = (), env: Mapping[str, str] | None = None, outputs: tuple[int, int] = (-1, -1)
    ) -> ContainerSpec:
        return ContainerSpec(
            id=self.id,
            rootfs=self.rootfs,
            argv=argv,
            stdout=outputs[0],
            stderr=outputs[1],
            env=env or {},
            cwd=launch.workdir(task.image),
            binds=self.binds,
            limits=task.limits,
            netns=self.netns,
            equipment=self.equipment,
        )

    def given_to(self, task: TaskSpec, home: Path) -> "Berth":
        """The same, with the files of this task. The container that has them sees them change."""
        folder = self.folder.rename(launch.tasks_folder(home) / task.task_id)
        launch.write_arguments(folder, task.arguments)
        moved = [
            replace(bind, source=folder / bind.source.relative_to(self.folder)) if bind.source.is_relative_to(self.folder) else bind
            for bind in self.binds
        ]
        return replace(self, folder=folder, binds=tuple(moved))


async def make_root(key: str, task: TaskSpec, shop: Ground, written: tuple[Path, ...] = ()) -> Path:
    """Mounted, with nothing written to it yet, whatever there was before."""
    bundle = await shop.bundles.layers_for(task.client, task.layers)
    trees = [await shop.trees.materialize(tree) for tree in task.trees]
    return await shop.snapshots.mount(key, task.layers, (*bundle, *trees, *written))


async def make_berth(
    berth_id: str, task: TaskSpec, shop: Ground, traces: AsyncExitStack, companions: TaskGroup, *, written: tuple[Path, ...] = ()
) -> Berth:
    """As the task says. What is made on the machine is removed with `traces`; the door to the gateway is served in `companions`."""
    traces.push_async_callback(tidy, partial(shop.snapshots.remove, berth_id))
    rootfs = await make_root(berth_id, task, shop, written)
    traces.push_async_callback(tidy, partial(shop.networks.remove, berth_id))
    netns = await shop.networks.create(berth_id, outbound=task.network)
    await companions.start(shop.door, netns, shop.gateway)
    traces.push_async_callback(tidy, partial(anyio.to_thread.run_sync, partial(launch.remove_files, shop.home, berth_id)))
    binds = await anyio.to_thread.run_sync(launch.write_files, shop.home, berth_id, task.arguments)
    return Berth(
        id=berth_id,
        folder=launch.tasks_folder(shop.home) / berth_id,
        rootfs=rootfs,
        netns=netns,
        binds=(*binds, launch.control_bind(shop.home), *launch.volume_binds(shop.home, task.volumes)),
        written=written,
        equipment=await anyio.to_thread.run_sync(shop.gpus.equipment, task.gpus),
    )
