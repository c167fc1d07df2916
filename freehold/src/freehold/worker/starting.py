"""The start of a task: a place on the machine, and in it a container that is forked, or started plainly."""

import secrets
from contextlib import AsyncExitStack
from functools import partial

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from freehold.container.stdio import SECRET_VARIABLE
from freehold.domain.seams import Seam
from freehold.wire.worker import TaskSpec
from freehold.worker import adoption, launch
from freehold.worker.berths import Berth, make_berth, make_root
from freehold.worker.ground import tidy
from freehold.worker.logs import ContainerLog, OutputPipes
from freehold.worker.ports import Container
from freehold.worker.workshop import Workshop
from freehold.worker.zygotes.pool import Fork
from freehold.worker.zygotes.spares import Spares


class Start:
    """Implements `Beginning`."""

    def __init__(self, spec: TaskSpec, workshop: Workshop, spares: Spares) -> None:
        self._spec = spec
        self._shop = workshop
        self._spares = spares
        self.start = ""
        self.address = ""
        self.no_snapshot = ""
        self._output_secret = secrets.token_hex(6) if Seam.STDIO in spec.client.seams else ""
        self._env = launch.environment(spec.image, spec.env, task_id=spec.task_id, token=spec.token)
        self._env[SECRET_VARIABLE] = self._output_secret

    async def __call__(self, traces: AsyncExitStack, companions: TaskGroup, output: ContainerLog) -> tuple[Container, OutputPipes]:
        berth, fork, why = await self._place(traces, companions)
        self.address = self._shop.networks.address_of(berth.id)
        pipes = OutputPipes(berth.folder)
        output.expect_marks(self._output_secret)
        pipes.read(output, companions)
        try:
            container = await self._run(berth, fork, why, pipes)
        finally:
            pipes.close()
        traces.push_async_callback(tidy, container.destroy)
        with anyio.CancelScope(shield=True):  # it runs: from here on it is ended by a signal, and has its grace period
            record = partial(
                adoption.write_record,
                berth.folder,
                container.pid,
                container_id=berth.id,
                address=self.address,
                output_secret=self._output_secret,
                zygote=container.zygote if isinstance(container, Fork) else None,
            )
            await anyio.to_thread.run_sync(record)
        return container, pipes

    async def _place(self, traces: AsyncExitStack, companions: TaskGroup) -> tuple[Berth, Fork | None, str]:
        """A container that was made ahead of need, or where to make one, and if so a fork in it."""
        self._shop.zygotes.want_snapshot(self._spec)
        if spare := self._spares.take(self._spec):
            traces.push_async_callback(tidy, spare.leave)
            remove_files = partial(launch.remove_files, self._shop.home, self._spec.task_id)
            traces.push_async_callback(tidy, partial(anyio.to_thread.run_sync, remove_files))
            return await anyio.to_thread.run_sync(spare.berth.given_to, self._spec, self._shop.home), spare.fork, ""
        source = await self._shop.zygotes.hold(self._spec, traces)
        berth = await make_berth(self._spec.task_id, self._spec, self._shop, traces, companions, written=source.written if source else ())
        return (berth, *await self._shop.zygotes.fork(source, self._spec, berth.container(self._spec, env=self._env)))

    async def _run(self, berth: Berth, fork: Fork | None, why: str, pipes: OutputPipes) -> Container:
        argv = launch.command(self._spec.image, self._env, berth.rootfs, self._spec.client.seams)
        spec = berth.container(self._spec, argv, self._env, (pipes.stdout, pipes.stderr))
        if fork is not None:
            why = await fork.become(self._spec, spec)
        if fork is not None and not why:
            self.start = fork.kind
            self.no_snapshot = "" if fork.is_of_snapshot else self._shop.zygotes.why_no_snapshot(self._spec)
            return fork
        if berth.written:
            await make_root(berth.id, self._spec, self._shop)
        self.start = f"plain: {why}"
        self.no_snapshot = self._shop.zygotes.why_no_snapshot(self._spec)
        return await self._shop.runtime.start(spec)
