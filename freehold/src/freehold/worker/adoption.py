"""Taking over the containers of an engine that was killed: what each leaves on disk for its successor, and the way from there into a life.

A record is written when its container runs, and goes with it. One of another format is of another version of the engine: its container
is not understood, so it is swept.
"""

import json
from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup

from freehold.domain.errors import FreeholdError
from freehold.domain.ids import TaskId
from freehold.worker import launch
from freehold.worker.ground import tidy
from freehold.worker.logs import ContainerLog, OutputPipes
from freehold.worker.ports import Container
from freehold.worker.processes import ProcessMark, mark_of
from freehold.worker.workshop import Workshop
from freehold.worker.zygotes.sources import ZygoteMark

log = structlog.get_logger(__name__)

FORMAT = 2  # raise when records, or what they stand for (roots, networks, pipes), change so that a successor would get them wrong
_RECORD = "record.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One running container. Its files are found by its task's id."""

    container_id: str  # by which its root, its network and its runtime's state are found
    mark: ProcessMark  # of its first process
    address: str  # in its network; empty without a way out
    output_secret: str  # of the marks in its output; empty without them
    zygote: ZygoteMark | None = None  # in whose pid namespace it is


def write_record(folder: Path, pid: int, *, container_id: str, address: str, output_secret: str, zygote: ZygoteMark | None = None) -> None:
    """Whole or not at all: whoever reads it may come after a kill at any moment. Without one, the container works but is not adopted."""
    mark = mark_of(pid)
    if mark is None:
        return
    unfinished = folder / f"{_RECORD}.new"
    try:
        record = Record(container_id=container_id, mark=mark, address=address, output_secret=output_secret, zygote=zygote)
        unfinished.write_text(json.dumps({"format": FORMAT, **asdict(record)}))
        unfinished.rename(folder / _RECORD)
    except OSError as error:
        log.warning("record_not_written", task_id=folder.name, reason=str(error))


def read_record(folder: Path) -> Record | None:
    """None if there is none that this version understands."""
    try:
        content = json.loads((folder / _RECORD).read_text())
        if content["format"] != FORMAT:
            return None
        return Record(
            container_id=content["container_id"],
            mark=ProcessMark(**content["mark"]),
            address=content["address"],
            output_secret=content["output_secret"],
            zygote=ZygoteMark.read(content["zygote"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Adoption:
    """Implements `Beginning` for a container that runs already."""

    def __init__(
        self, task_id: TaskId, container: Container, pipes: OutputPipes, *, record: Record, netns: str, workshop: Workshop
    ) -> None:
        self._task_id = task_id
        self._record = record
        self._container = container
        self._pipes = pipes
        self._netns = netns
        self._shop = workshop

    @property
    def start(self) -> str:
        return ""

    @property
    def address(self) -> str:
        return self._record.address

    @property
    def no_snapshot(self) -> str:
        return ""

    @property
    def needs(self) -> set[str]:
        """Other containers without which it would end."""
        return {self._record.container_id} | ({self._record.zygote.id} if self._record.zygote else set())

    async def __call__(self, traces: AsyncExitStack, companions: TaskGroup, output: ContainerLog) -> tuple[Container, OutputPipes]:
        remove_files = partial(launch.remove_files, self._shop.home, self._task_id)
        traces.push_async_callback(tidy, partial(self._shop.snapshots.remove, self._record.container_id))
        traces.push_async_callback(tidy, partial(self._shop.networks.remove, self._record.container_id))
        traces.push_async_callback(tidy, partial(anyio.to_thread.run_sync, remove_files))
        traces.push_async_callback(tidy, self._container.destroy)
        output.expect_marks(self._record.output_secret)
        self._pipes.read(output, companions)
        self._pipes.close()
        with anyio.CancelScope(shield=True):  # what is stopped meanwhile has its grace period too
            await companions.start(self._shop.door, self._netns, self._shop.gateway)
        return self._container, self._pipes


async def adopt(candidates: Collection[TaskId], workshop: Workshop) -> dict[TaskId, Adoption]:
    """Those of these tasks whose containers still run and can be had whole. Nothing of the others is touched."""
    found = {task_id: await _adopt(task_id, workshop) for task_id in candidates}
    return {task_id: adoption for task_id, adoption in found.items() if adoption}


async def _adopt(task_id: TaskId, shop: Workshop) -> Adoption | None:
    folder = launch.tasks_folder(shop.home) / task_id
    record = await anyio.to_thread.run_sync(read_record, folder)
    if record is None:
        return None
    try:
        netns = await shop.networks.adopt(record.container_id, pid=record.mark.pid, address=record.address)
        # Looked at afterwards: if it is the process that was meant, so was it when its network was opened.
        if container := await shop.runtime.adopt(record.container_id, record.mark):
            if record.zygote:
                container = await shop.zygotes.adopt(container, record.zygote)
            return Adoption(task_id, container, OutputPipes(folder), record=record, netns=netns, workshop=shop)
    except (FreeholdError, OSError) as error:
        log.info("task_not_adopted", task_id=task_id, reason=str(error))
    await shop.networks.remove(record.container_id)
    return None
