"""Containers ahead of need: made and forked for a function that was wanted lately, waiting only to be told which task they are."""

import secrets
from contextlib import AsyncExitStack
from dataclasses import replace

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from freehold.domain.clock import Clock
from freehold.domain.ids import TaskId
from freehold.wire.worker import TaskSpec
from freehold.worker.berths import Berth, make_berth
from freehold.worker.workshop import Workshop
from freehold.worker.zygotes.pool import Fork

log = structlog.get_logger(__name__)

PREFIX = "sp-"
_PAUSE = 0.5  # seconds after a start in which the machine is that start's
_IDLE = 600.0  # seconds without a start after which a function has no spare any more
_LOOK = 30.0


class Spare:
    """One container. `leave` removes it, and returns when nothing of it is left."""

    def __init__(self, task: TaskSpec, berth: Berth, fork: Fork) -> None:
        self.berth = berth
        self.fork = fork
        self.task = task
        self._left = anyio.Event()
        self.gone = anyio.Event()

    def dismiss(self) -> None:
        self._left.set()

    async def leave(self) -> None:
        with anyio.CancelScope(shield=True):
            self.dismiss()
            await self.gone.wait()

    async def wait_left(self) -> None:
        await self._left.wait()


class Spares:
    """One for each function that had a start within the last ten minutes, and `most` in all; none with `most` 0."""

    def __init__(self, shop: Workshop, *, most: int, clock: Clock) -> None:
        self._shop = shop
        self._most = most
        self._clock = clock
        self._spares: dict[str, Spare] = {}  # by function
        self._wanted: dict[str, float] = {}  # when a function's last start was
        self._making = anyio.Semaphore(1)
        self._group: TaskGroup | None = None

    def open(self, group: TaskGroup) -> None:
        self._group = group
        if self._most:
            group.start_soon(self._look_after)
            self._shop.zygotes.on_change = self._replace_old

    async def close(self) -> None:
        self._group = None
        async with self._making:  # what is being made is among them then
            for spare in list(self._spares.values()):
                await spare.leave()
            self._spares.clear()

    def take(self, task: TaskSpec) -> Spare | None:
        """The one for this task, if there is; another is made afterwards."""
        if self._group is None or not self._most or not task.function_id or task.gpus or _may_age(task):
            return None
        self._wanted[task.function_id] = self._clock.monotonic()
        self._group.start_soon(self._refill, task)
        spare = self._spares.pop(task.function_id, None)
        if spare is not None and (_definition(spare.task) != _definition(task) or not spare.fork.is_best_for(task)):
            self._group.start_soon(spare.leave)
            return None
        return spare

    def expect(self, task: TaskSpec) -> None:
        """A task like this one is likely, though none has been started."""
        if self._group is not None and self._most and task.function_id and not _may_age(task):
            self._wanted[task.function_id] = self._clock.monotonic()
            self._group.start_soon(self._refill, task)

    def _replace_old(self) -> None:
        """Those whose zygote has been replaced by one that has imported more."""
        if self._group is None:
            return
        for key, spare in list(self._spares.items()):
            if not spare.fork.is_best_for(spare.task):
                del self._spares[key]
                self._group.start_soon(spare.leave)
                self._group.start_soon(self._refill, spare.task)

    async def _refill(self, task: TaskSpec) -> None:
        await anyio.sleep(_PAUSE)
        await self._shop.zygotes.wait_for(task)
        async with self._making:
            key = task.function_id or ""
            if self._group is None or key in self._spares or key not in self._wanted:
                return
            await self._make_room()
            if self._group is not None and len(self._spares) < self._most:  # the engine may have begun to stop meanwhile
                await self._group.start(self._keep, task)

    async def _keep(self, task: TaskSpec, *, task_status: TaskStatus[None]) -> None:
        """The life of one spare. It is a favour to the next start, so whatever goes wrong must not end those that run."""
        held: list[Spare] = []
        try:
            async with AsyncExitStack() as traces, anyio.create_task_group() as companions:
                if spare := await self._made(task, traces, companions):
                    held.append(spare)
                    self._spares[task.function_id or ""] = spare
                    task_status.started()
                    companions.start_soon(self._drop_dead, spare)
                    await spare.wait_left()
                companions.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001
            log.warning("spare_not_made", function_id=task.function_id, reason=str(error))
        finally:
            for spare in held:
                spare.gone.set()
        if not held:
            task_status.started()

    async def _drop_dead(self, spare: Spare) -> None:
        """Somebody must wait for its end: until then, the end of its zygote waits too."""
        await spare.fork.wait()
        if self._spares.get(spare.task.function_id or "") is spare:
            del self._spares[spare.task.function_id or ""]
            spare.dismiss()

    async def _made(self, task: TaskSpec, traces: AsyncExitStack, companions: TaskGroup) -> Spare | None:
        source = await self._shop.zygotes.hold(task, traces)
        written = source.written if source else ()
        task = replace(task, arguments=b"", token="")  # which are another's
        berth = await make_berth(f"{PREFIX}{secrets.token_hex(8)}", task, self._shop, traces, companions, written=written)
        fork, why = await self._shop.zygotes.fork(source, task, berth.container(task))
        if fork is None:
            log.debug("spare_not_made", function_id=task.function_id, reason=why)
            return None
        traces.push_async_callback(fork.destroy)
        return Spare(task, berth, fork)

    async def _make_room(self) -> None:
        """The function that was wanted longest ago gives way."""
        while len(self._spares) >= self._most:
            longest_ago = min(self._spares, key=lambda key: self._wanted.get(key, 0.0))
            await self._spares.pop(longest_ago).leave()

    async def _look_after(self) -> None:
        while True:
            await anyio.sleep(_LOOK)
            now = self._clock.monotonic()
            for key in [key for key, at in self._wanted.items() if now - at > _IDLE]:
                del self._wanted[key]
                if spare := self._spares.pop(key, None):
                    await spare.leave()


def _may_age(task: TaskSpec) -> bool:
    """Whether a container that waits may come to be another than one that is made now: a folder in a volume can be removed and made anew."""
    return any(mount.sub_path for mount in task.volumes)


def _definition(task: TaskSpec) -> TaskSpec:
    """All that a container is made for, without what is its task's own."""
    return replace(task, task_id=TaskId(""), arguments=b"", token="", env={})
