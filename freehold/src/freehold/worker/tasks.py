"""The life of one task on this worker: its root, network and files, its container, its output, its exit, and nothing left of it."""

import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup

from freehold.domain.clock import Clock
from freehold.domain.errors import FreeholdError
from freehold.domain.tasks import ExitKind, TaskExit
from freehold.wire.worker import TaskSpec, WorkerReports
from freehold.worker import launch
from freehold.worker.logs import ContainerLog, OutputPipes
from freehold.worker.ports import Bundles, Container, ContainerExit, ContainerSpec, Door, Networks, Runtime, Snapshotter, Trees
from freehold.worker.reconcile import Phase

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What the lives of all tasks share. `starts` bounds how many begin at once: more would only slow each other down."""

    home: Path
    runtime: Runtime
    snapshots: Snapshotter
    networks: Networks
    trees: Trees
    bundles: Bundles
    reports: WorkerReports
    gateway: tuple[str, int]
    door: Door
    clock: Clock
    grace: timedelta
    starts: anyio.Semaphore


class TaskLife:
    """`run` is the whole life; `stop` and `kill` may be called at any time in it, and repeated."""

    def __init__(self, spec: TaskSpec, workshop: Workshop) -> None:
        self._spec = spec
        self._shop = workshop
        self._log = ContainerLog(sink=partial(workshop.reports.task_logged, spec.task_id), clock=workshop.clock, task_id=spec.task_id)
        self._scope = anyio.CancelScope(shield=True)
        self._starting = anyio.CancelScope()
        self._stop = anyio.Event()
        self._kill = anyio.Event()
        self._has_ended = False
        self._gone = anyio.Event()

    @property
    def phase(self) -> Phase:
        if self._has_ended:
            return Phase.ENDED
        return Phase.STOPPING if self._stop.is_set() else Phase.ALIVE

    def stop(self) -> None:
        """SIGINT, a grace period, SIGKILL. What has not started does not start."""
        self._stop.set()
        self._starting.cancel()

    def kill(self) -> None:
        self._kill.set()
        self.stop()

    async def wait_gone(self) -> None:
        """Returns when nothing of the task is left on the machine."""
        await self._gone.wait()

    def abandon(self) -> None:
        """Give up on it: what is left on the machine is for the sweep."""
        self._scope.cancel()

    async def run(self) -> None:
        """Whoever cancels the caller wants the engine to leave; the task still ends by `stop`, `kill`, or by itself."""
        with self._scope:
            await self._run()

    async def _run(self) -> None:
        try:
            async with AsyncExitStack() as traces, anyio.create_task_group() as companions:
                await self._report(await self._live(traces, companions))
                companions.cancel_scope.cancel()
        finally:
            self._gone.set()

    async def _report(self, end: TaskExit) -> None:
        """Before the clean-up: whoever waits for a result of this task need not wait for that."""
        self._has_ended = True
        log.info("task_exited", task_id=self._spec.task_id, kind=end.kind, code=end.code)
        await self._shop.reports.task_exited(self._spec.task_id, end)

    async def _live(self, traces: AsyncExitStack, companions: TaskGroup) -> TaskExit:
        container: Container | None = None
        pipes = OutputPipes(self._log, companions)
        try:
            with self._starting:
                async with self._shop.starts:
                    container = await self._start(traces, companions, pipes)
        except (FreeholdError, OSError) as error:
            return TaskExit(kind=ExitKind.NOT_STARTED, detail=str(error))
        except Exception:  # one image or mount that we cannot handle must not end the tasks of others
            log.exception("task_not_started", task_id=self._spec.task_id)
            return TaskExit(kind=ExitKind.NOT_STARTED, detail="It could not be started; the engine's log has the reason.")
        finally:
            pipes.close()
        if container is None:
            return TaskExit(kind=ExitKind.STOPPED, detail="It was stopped before it had started.")
        await self._shop.reports.task_started(self._spec.task_id)
        ended = await self._watch(container)
        await pipes.drain()
        return explain(ended, asked=self._stop.is_set(), tail=self._log.tail.text())

    async def _start(self, traces: AsyncExitStack, companions: TaskGroup, pipes: OutputPipes) -> Container:
        rootfs = await self._mount(traces)
        netns = await self._connect(traces, companions)
        remove_files = partial(launch.remove_files, self._shop.home, self._spec.task_id)
        traces.push_async_callback(_tidy, partial(anyio.to_thread.run_sync, remove_files))
        binds = await anyio.to_thread.run_sync(launch.write_files, self._shop.home, self._spec.task_id, self._spec.arguments)
        env = launch.environment(self._spec.image, self._spec.env, task_id=self._spec.task_id, token=self._spec.token)
        container = await self._shop.runtime.start(
            ContainerSpec(
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
        )
        traces.push_async_callback(_tidy, container.destroy)
        return container

    async def _mount(self, traces: AsyncExitStack) -> Path:
        bundle = await self._shop.bundles.layers_for(self._spec.client, self._spec.layers)
        trees = [await self._shop.trees.materialize(tree) for tree in self._spec.trees]
        traces.push_async_callback(_tidy, partial(self._shop.snapshots.remove, self._spec.task_id))
        return await self._shop.snapshots.mount(self._spec.task_id, self._spec.layers, (*bundle, *trees))

    async def _connect(self, traces: AsyncExitStack, companions: TaskGroup) -> str:
        traces.push_async_callback(_tidy, partial(self._shop.networks.remove, self._spec.task_id))
        netns = await self._shop.networks.create(self._spec.task_id, outbound=self._spec.network)
        await companions.start(self._shop.door, netns, self._shop.gateway)
        return netns

    async def _watch(self, container: Container) -> ContainerExit:
        async with anyio.create_task_group() as group:
            group.start_soon(self._end_when_asked, container)
            ended = await container.wait()
            group.cancel_scope.cancel()
        return ended

    async def _end_when_asked(self, container: Container) -> None:
        await self._stop.wait()
        if not self._kill.is_set():
            await container.signal(signal.SIGINT)
            with anyio.move_on_after(self._shop.grace.total_seconds()):
                await self._kill.wait()
        await container.signal(signal.SIGKILL)


def explain(ended: ContainerExit, *, asked: bool, tail: str) -> TaskExit:
    """What the end of a container means for its task."""
    if asked:
        kind = ExitKind.STOPPED
    elif ended.code == 0:
        kind = ExitKind.FINISHED
    else:
        kind = ExitKind.OUT_OF_MEMORY if ended.out_of_memory else ExitKind.CRASHED
    return TaskExit(kind=kind, code=ended.code, detail=tail)


async def _tidy(remove: Callable[[], Awaitable[object]]) -> None:
    """Clean-up goes on whatever happens around it, and one that fails does not keep others from theirs: the next sweep tries again."""
    with anyio.CancelScope(shield=True):
        try:
            await remove()
        except (FreeholdError, OSError) as error:
            log.warning("task_left_traces", reason=str(error))
