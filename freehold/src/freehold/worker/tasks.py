"""The life of one task on this worker: its beginning, its output, its exit, and nothing left of it."""

import signal
from contextlib import AsyncExitStack
from functools import partial

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup

from freehold.domain.errors import FreeholdError
from freehold.domain.ids import TaskId
from freehold.domain.tasks import ExitKind, TaskExit
from freehold.domain.usage import Reading
from freehold.wire.worker import TaskSample
from freehold.worker.logs import ContainerLog, OutputPipes
from freehold.worker.ports import Container, ContainerExit
from freehold.worker.reconcile import Phase
from freehold.worker.workshop import Beginning, Workshop

log = structlog.get_logger(__name__)


class TaskLife:
    """`run` is the whole life, from its beginning (a start, or an adoption) on; `stop` and `kill` may be called at any time in it, and
    repeated.
    """

    def __init__(self, task_id: TaskId, begin: Beginning, workshop: Workshop) -> None:
        self._task_id = task_id
        self._begin = begin
        self._shop = workshop
        sink = partial(workshop.reports.task_logged, task_id)
        self._log = ContainerLog(sink=sink, clock=workshop.clock, task_id=task_id, paces=[workshop.pace])
        self._scope = anyio.CancelScope(shield=True)
        self._starting = anyio.CancelScope()
        self._stop = anyio.Event()
        self._kill = anyio.Event()
        self._has_ended = False
        self._gone = anyio.Event()
        self._container: Container | None = None  # while it is there to be read
        self._memory_bytes = 0  # when it was read last

    @property
    def phase(self) -> Phase:
        if self._has_ended:
            return Phase.ENDED
        return Phase.STOPPING if self._stop.is_set() else Phase.ALIVE

    @property
    def container(self) -> Container | None:
        """Until it has ended; None while it starts."""
        return self._container

    def stop(self) -> None:
        """SIGINT, a grace period, SIGKILL. What has not started does not start."""
        self._stop.set()
        self._starting.cancel()

    def kill(self) -> None:
        self._kill.set()
        self.stop()

    def sample(self) -> TaskSample | None:
        """What it has used by now; None while it has no container. From a thread."""
        container = self._container
        if container is None:
            return None
        at, used = self._shop.clock.now(), container.usage()
        self._memory_bytes = used.memory_bytes
        return TaskSample(task_id=self._task_id, reading=Reading(at=at, cpu_us=used.cpu_us, memory_bytes=used.memory_bytes))

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
        log.info("task_exited", task_id=self._task_id, kind=end.kind, code=end.code)
        await self._shop.reports.task_exited(self._task_id, end)

    async def _live(self, traces: AsyncExitStack, companions: TaskGroup) -> TaskExit:
        begun: tuple[Container, OutputPipes] | None = None
        try:
            with self._starting:
                async with self._shop.starts:
                    begun = await self._begin(traces, companions, self._log)
        except (FreeholdError, OSError) as error:
            return TaskExit(kind=ExitKind.NOT_STARTED, detail=str(error))
        except Exception:  # one image or mount that we cannot handle must not end the tasks of others
            log.exception("task_not_started", task_id=self._task_id)
            return TaskExit(kind=ExitKind.NOT_STARTED, detail="It could not be started; the engine's log has the reason.")
        if begun is None:
            return TaskExit(kind=ExitKind.STOPPED, detail="It was stopped before it had started.")
        container, pipes = begun
        begin = self._begin
        await self._shop.reports.task_started(self._task_id, begin.address, begin.start, begin.no_snapshot)
        self._container = container
        ended = await self._watch(container)
        self._container = None
        self._shop.reports.tasks_sampled([await anyio.to_thread.run_sync(self._last_sample, container)])
        await pipes.drain()
        return explain(ended, asked=self._stop.is_set(), tail=self._log.tail.text())

    def _last_sample(self, container: Container) -> TaskSample:
        """Its memory has gone with its processes: it counts as what it had before, or, if nobody looked, as the most that it ever had."""
        at, used = self._shop.clock.now(), container.usage()
        memory = self._memory_bytes or used.most_memory_bytes
        return TaskSample(task_id=self._task_id, reading=Reading(at=at, cpu_us=used.cpu_us, memory_bytes=memory))

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
    elif ended.out_of_memory:
        kind = ExitKind.OUT_OF_MEMORY
    elif ended.code is None:
        kind = ExitKind.LOST
    else:
        kind = ExitKind.CRASHED if ended.code else ExitKind.FINISHED
    return TaskExit(kind=kind, code=ended.code or 0, detail=tail)
