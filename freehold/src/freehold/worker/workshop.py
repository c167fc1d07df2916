"""What the lives of all tasks on this worker share, and the two ways into one: a start, and the adoption of an earlier engine's container."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskGroup

from freehold.domain.clock import Clock
from freehold.domain.errors import FreeholdError
from freehold.wire.worker import WorkerReports
from freehold.worker.logs import ContainerLog, OutputPipes
from freehold.worker.pace import Pace
from freehold.worker.ports import Bundles, Container, Door, Networks, Runtime, Snapshotter, Trees
from freehold.worker.zygotes.pool import ZygotePool

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """`starts` bounds how many begin at once: more would only slow each other down."""

    home: Path
    runtime: Runtime
    snapshots: Snapshotter
    networks: Networks
    trees: Trees
    bundles: Bundles
    zygotes: ZygotePool
    reports: WorkerReports
    gateway: tuple[str, int]
    door: Door
    clock: Clock
    grace: timedelta
    starts: anyio.Semaphore
    pace: Pace  # at which the output of all is read


class Beginning(Protocol):
    """Brings a task to where its container runs.

    What it makes on the machine it removes with `traces`; what goes on beside the container (readers, the door) runs in `companions`.
    Raises FreeholdError or OSError with the reason when there is no container. `start` and
    `address` are then what `WorkerReports.task_started` says.
    """

    @property
    def start(self) -> str: ...

    @property
    def address(self) -> str: ...

    async def __call__(self, traces: AsyncExitStack, companions: TaskGroup, output: ContainerLog) -> tuple[Container, OutputPipes]: ...


async def tidy(remove: Callable[[], Awaitable[object]]) -> None:
    """Clean-up goes on whatever happens around it, and one that fails does not keep others from theirs: the next sweep tries again."""
    with anyio.CancelScope(shield=True):
        try:
            await remove()
        except (FreeholdError, OSError) as error:
            log.warning("task_left_traces", reason=str(error))
