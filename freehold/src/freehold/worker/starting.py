"""The start of a task: its root, its network, the few files of ours, its container."""

import secrets
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from freehold.container.stdio import SECRET_VARIABLE
from freehold.domain.seams import Seam
from freehold.wire.worker import TaskSpec
from freehold.worker import adoption, launch
from freehold.worker.logs import ContainerLog, OutputPipes
from freehold.worker.ports import Bind, Container, ContainerSpec
from freehold.worker.workshop import Workshop, tidy
from freehold.worker.zygotes.zygote import ZygoteMark


class Start:
    """Implements `Beginning`."""

    def __init__(self, spec: TaskSpec, workshop: Workshop) -> None:
        self._spec = spec
        self._shop = workshop
        self.start = ""
        self._zygote: ZygoteMark | None = None  # of what it was forked from
        self._output_secret = secrets.token_hex(6) if Seam.STDIO in spec.client.seams else ""

    async def __call__(self, traces: AsyncExitStack, companions: TaskGroup, output: ContainerLog) -> tuple[Container, OutputPipes]:
        rootfs = await self._mount(traces)
        netns = await self._connect(traces, companions)
        binds = await self._write_files(traces)
        pipes = OutputPipes(self._folder)
        output.expect_marks(self._output_secret)
        pipes.read(output, companions)
        try:
            container = await self._run(self._container(rootfs, netns, binds, pipes))
        finally:
            pipes.close()
        traces.push_async_callback(tidy, container.destroy)
        with anyio.CancelScope(shield=True):  # it runs: from here on it is ended by a signal, and has its grace period
            address = self._shop.networks.address_of(self._spec.task_id)
            await anyio.to_thread.run_sync(adoption.write_record, self._folder, container.pid, address, self._output_secret, self._zygote)
        return container, pipes

    async def _run(self, spec: ContainerSpec) -> Container:
        forked, why = await self._shop.zygotes.task(self._spec, spec)
        if forked is None:
            self.start = f"plain: {why}"
            return await self._shop.runtime.start(spec)
        self.start, self._zygote = "forked", forked.zygote
        return forked

    @property
    def _folder(self) -> Path:
        return launch.tasks_folder(self._shop.home) / self._spec.task_id

    async def _mount(self, traces: AsyncExitStack) -> Path:
        bundle = await self._shop.bundles.layers_for(self._spec.client, self._spec.layers)
        trees = [await self._shop.trees.materialize(tree) for tree in self._spec.trees]
        traces.push_async_callback(tidy, partial(self._shop.snapshots.remove, self._spec.task_id))
        return await self._shop.snapshots.mount(self._spec.task_id, self._spec.layers, (*bundle, *trees))

    async def _connect(self, traces: AsyncExitStack, companions: TaskGroup) -> str:
        traces.push_async_callback(tidy, partial(self._shop.networks.remove, self._spec.task_id))
        netns = await self._shop.networks.create(self._spec.task_id, outbound=self._spec.network)
        await companions.start(self._shop.door, netns, self._shop.gateway)
        return netns

    async def _write_files(self, traces: AsyncExitStack) -> tuple[Bind, ...]:
        remove_files = partial(launch.remove_files, self._shop.home, self._spec.task_id)
        traces.push_async_callback(tidy, partial(anyio.to_thread.run_sync, remove_files))
        return await anyio.to_thread.run_sync(launch.write_files, self._shop.home, self._spec.task_id, self._spec.arguments)

    def _container(self, rootfs: Path, netns: str, binds: tuple[Bind, ...], pipes: OutputPipes) -> ContainerSpec:
        env = launch.environment(self._spec.image, self._spec.env, task_id=self._spec.task_id, token=self._spec.token)
        env[SECRET_VARIABLE] = self._output_secret
        return ContainerSpec(
            id=self._spec.task_id,
            rootfs=rootfs,
            argv=launch.command(self._spec.image, env, rootfs, self._spec.client.seams),
            stdout=pipes.stdout,
            stderr=pipes.stderr,
            env=env,
            cwd=launch.workdir(self._spec.image),
            binds=(*binds, launch.control_bind(self._shop.home)),
            limits=self._spec.limits,
            netns=netns,
        )
