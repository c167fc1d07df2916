"""What runs on each machine: makes the desired tasks the actual ones, builds images, reports facts. Knows no control plane."""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup

from freehold.domain.clients import knows_new_builders
from freehold.domain.clock import Clock
from freehold.domain.errors import FreeholdError, NotFound, Unavailable
from freehold.domain.ids import ImageId, TaskId
from freehold.domain.seams import Zygotes
from freehold.wire.worker import BuildSpec, BuiltImage, ClientRuntime, TaskSample, TaskSpec, WorkerReports
from freehold.worker import adoption, launch
from freehold.worker.execs import Execs
from freehold.worker.execution import Place
from freehold.worker.gpus import Gpus
from freehold.worker.network.relay import serve_gateway_door
from freehold.worker.pace import machine_pace
from freehold.worker.ports import Builder, Bundles, Door, ModuleLists, Networks, Runtime, Snapshotter, Trees
from freehold.worker.reconcile import Phase, reconcile
from freehold.worker.starting import Start
from freehold.worker.tasks import TaskLife
from freehold.worker.workshop import Beginning, Workshop
from freehold.worker.zygotes.pool import Machine, ZygotePool
from freehold.worker.zygotes.spares import Spares

log = structlog.get_logger(__name__)

_STARTS_AT_ONCE = 8
_BUILDS_AT_ONCE = 2
_SAMPLES_EVERY = 5.0  # seconds
_TIDYING = 10.0  # seconds that the last clean-ups may take after the grace period


class Worker:
    """Implements `WorkerControl` between entering and leaving its context. Entering sweeps from the machine what an earlier engine left and
    was not adopted before; leaving stops every task and sweeps all.
    """

    def __init__(
        self,
        *,
        home: Path,
        runtime: Runtime,
        snapshots: Snapshotter,
        networks: Networks,
        trees: Trees,
        bundles: Bundles,
        builder: Builder,
        reports: WorkerReports,
        gpus: Gpus,
        gateway: tuple[str, int],
        door: Door = serve_gateway_door,
        clock: Clock,
        grace: timedelta = timedelta(seconds=30),
        modules: ModuleLists,
        zygotes: Zygotes = Zygotes.OFF,
        zygote_memory_mib: int = 1024,
        spare_containers: int = 0,
    ) -> None:
        self._shop = Workshop(
            home=home,
            runtime=runtime,
            snapshots=snapshots,
            networks=networks,
            trees=trees,
            bundles=bundles,
            zygotes=ZygotePool(
                Machine(runtime=runtime, snapshots=snapshots, bundles=bundles, modules=modules),
                mode=zygotes,
                budget_mib=zygote_memory_mib,
                clock=clock,
            ),
            reports=reports,
            gpus=gpus,
            gateway=gateway,
            door=door,
            clock=clock,
            grace=grace,
            starts=anyio.Semaphore(_STARTS_AT_ONCE),
            pace=machine_pace(clock),
        )
        self._spares = Spares(self._shop, most=spare_containers, clock=clock)
        self._builder = builder
        self._build_slots = anyio.Semaphore(_BUILDS_AT_ONCE)
        self._building: set[ImageId] = set()
        self.execs = Execs(places=self, ended=reports.exec_ended)
        self._lives: dict[TaskId, TaskLife] = {}
        self._specs: dict[TaskId, TaskSpec] = {}  # of those, what was last wished for
        self._adopted: dict[TaskId, adoption.Adoption] = {}
        self._stack = AsyncExitStack()
        self._group: TaskGroup

    @property
    def zygotes(self) -> ZygotePool:
        return self._shop.zygotes

    async def adopt(self, candidates: Collection[TaskId]) -> AbstractSet[TaskId]:
        """Take over, before this worker is entered, what still runs of an earlier engine's tasks: those that could be had.

        Their output is read, and their ends are reported, once it is entered.
        """
        self._adopted = await adoption.adopt(candidates, self._shop)
        return self._adopted.keys()

    async def __aenter__(self) -> Self:
        await self._sweep(keep=self._adopted.keys() | {other for adopted in self._adopted.values() for other in adopted.needs})
        await self._shop.networks.start()
        self._group = await self._stack.enter_async_context(anyio.create_task_group())
        self._shop.zygotes.open(self._group, self._shop)
        self._spares.open(self._group)
        self.execs.open(self._group)
        for task_id, adopted in self._adopted.items():
            self._begin(task_id, adopted)
        self._group.start_soon(self._sample)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with anyio.CancelScope(shield=True):
            await self._stop_all()
            await self._spares.close()
            await self._shop.zygotes.close()
        self._group.cancel_scope.cancel()
        try:
            await self._stack.aclose()
        finally:
            with anyio.CancelScope(shield=True):
                await self._sweep()
                await self._shop.networks.stop()

    def set_desired(self, tasks: Mapping[TaskId, TaskSpec]) -> None:
        """See `WorkerControl`. A task that has ended is forgotten once nobody desires it any more."""
        actual = {task_id: life.phase for task_id, life in self._lives.items()}
        to_start, to_stop = reconcile(tasks, actual)
        for task_id in to_stop:
            self._lives[task_id].stop()
        for task_id in to_start:
            self._begin(task_id, Start(tasks[task_id], self._shop, self._spares))
        for task_id, phase in actual.items():
            if phase is Phase.ENDED and task_id not in tasks:
                del self._lives[task_id]
        self._specs = {task_id: spec for task_id, spec in {**self._specs, **tasks}.items() if task_id in self._lives}

    async def place(self, task_id: TaskId) -> Place:
        """See `execs.Places`."""
        life, spec = self._lives.get(task_id), self._specs.get(task_id)
        if life is None or life.phase is Phase.ENDED:
            msg = f"No running container {task_id}. `modal container list` shows those that run."
            raise NotFound(msg)
        if spec is None or life.container is None:
            msg = f"Container {task_id} is not there yet, or not any more. Look with `freehold why {task_id}`, or try again in a moment."
            raise Unavailable(msg)
        equipment = await anyio.to_thread.run_sync(self._shop.gpus.equipment, spec.gpus)
        env = {**launch.exec_environment(spec.image, spec.env, task_id), **equipment.env}
        return Place(container=life.container, env=env, cwd=launch.workdir(spec.image))

    def expect(self, task: TaskSpec) -> None:
        self._shop.zygotes.want(task)
        self._spares.expect(task)

    async def kill(self, task_id: TaskId) -> None:
        if life := self._lives.get(task_id):
            life.kill()

    def build(self, spec: BuildSpec) -> None:
        if spec.image_id not in self._building:
            self._building.add(spec.image_id)
            self._group.start_soon(self._build, spec)

    async def _sample(self) -> None:
        """What all containers use, every few seconds."""
        while True:
            await anyio.sleep(_SAMPLES_EVERY)
            if self._lives:
                self._shop.reports.tasks_sampled(await anyio.to_thread.run_sync(_samples, list(self._lives.values())))

    def _begin(self, task_id: TaskId, beginning: Beginning) -> None:
        life = TaskLife(task_id, beginning, self._shop)
        self._lives[task_id] = life
        self._group.start_soon(life.run)

    async def _build(self, spec: BuildSpec) -> None:
        try:
            async with self._build_slots:
                outcome = await self._outcome(spec)
        finally:
            self._building.discard(spec.image_id)
        await self._shop.reports.build_finished(spec.image_id, outcome)
        if isinstance(outcome, BuiltImage) and spec.client_version:
            await self._prepare(spec.client_version, outcome)

    async def _prepare(self, version: str, image: BuiltImage) -> None:
        """The client for functions over this image, while its deploy goes on: else the first call would wait for it."""
        if not image.config.python_series:
            return
        series = image.config.python_series
        is_in_image = not knows_new_builders(version)  # what it needs: builders that older clients know put it there
        client = ClientRuntime(
            version=version, python_series=series, with_dependencies=not is_in_image, with_web=True, with_server=not is_in_image
        )
        try:
            await self._shop.bundles.layers_for(client, image.layers)
        except (FreeholdError, OSError) as error:
            log.warning("client_not_prepared", version=version, python=series, reason=str(error))

    async def _outcome(self, spec: BuildSpec) -> BuiltImage | str:
        """A build runs other people's commands over other people's files: whatever goes wrong is the answer, not the end of the engine."""
        try:
            return await self._builder.build(spec, partial(self._shop.reports.build_logged, spec.image_id))
        except (FreeholdError, OSError) as error:
            return str(error)
        except Exception:
            log.exception("build_failed", image_id=spec.image_id)
            return "The build failed inside the engine; the engine's log has the reason."

    async def _stop_all(self) -> None:
        """Also when the engine itself is cancelled: tasks get their grace period either way, builds do not."""
        for life in self._lives.values():
            life.stop()
        deadline = self._shop.grace.total_seconds() + _TIDYING
        with anyio.move_on_after(deadline) as waiting:
            for life in self._lives.values():
                await life.wait_gone()
        if waiting.cancelled_caught:
            log.warning("tasks_not_gone", after_seconds=deadline)
            for life in self._lives.values():
                life.abandon()

    async def _sweep(self, keep: AbstractSet[str] = frozenset()) -> None:
        """Remove what is on the machine under this home's name: of this engine, or of one that was killed."""
        containers = await self._shop.runtime.sweep(keep)
        roots = await self._shop.snapshots.sweep(keep)
        await anyio.to_thread.run_sync(launch.sweep_files, self._shop.home, keep)
        if containers or roots:
            log.info("machine_swept", containers=len(containers), roots=len(roots))


def _samples(lives: Iterable[TaskLife]) -> list[TaskSample]:
    return [sample for life in lives if (sample := life.sample())]
