"""What the machine gives any container to stand on, and how a trace of one is removed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import structlog

from freehold.domain.errors import FreeholdError
from freehold.worker.gpus import Gpus
from freehold.worker.ports import Bundles, Door, Networks, Runtime, Snapshotter, Trees

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    home: Path
    runtime: Runtime
    snapshots: Snapshotter
    networks: Networks
    trees: Trees
    bundles: Bundles
    gpus: Gpus
    gateway: tuple[str, int]
    door: Door


async def tidy(remove: Callable[[], Awaitable[object]]) -> None:
    """Clean-up goes on whatever happens around it, and one that fails does not keep others from theirs: the next sweep tries again."""
    with anyio.CancelScope(shield=True):
        try:
            await remove()
        except (FreeholdError, OSError) as error:
            log.warning("task_left_traces", reason=str(error))
