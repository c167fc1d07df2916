"""What the lives of all tasks on this worker share, and the two ways into one: a start, and the adoption of an earlier engine's container."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from freehold.domain.clock import Clock
from freehold.wire.worker import WorkerReports
from freehold.worker.ground import Ground
from freehold.worker.logs import ContainerLog, OutputPipes
from freehold.worker.pace import Pace
from freehold.worker.ports import Container
from freehold.worker.zygotes.pool import ZygotePool


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop(Ground):
    """`starts` bounds how many begin at once: more would only slow each other down."""

    zygotes: ZygotePool
    reports: WorkerReports
    clock: Clock
    grace: timedelta
    starts: anyio.Semaphore
    pace: Pace  # at which the output of all is read


class Beginning(Protocol):
    """Brings a task to where its container runs.

    What it makes on the machine it removes with `traces`; what goes on beside the container (readers, the door) runs in `companions`.
    Raises FreeholdError or OSError with the reason when there is no container. `start`, `address` and `no_snapshot` are then what
    `WorkerReports.task_started` says.
    """

    @property
    def start(self) -> str: ...

    @property
    def address(self) -> str: ...

    @property
    def no_snapshot(self) -> str: ...

    async def __call__(self, traces: AsyncExitStack, companions: TaskGroup, output: ContainerLog) -> tuple[Container, OutputPipes]: ...
