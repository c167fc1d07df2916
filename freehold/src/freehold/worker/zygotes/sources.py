"""What tasks are forked from: a process that waits in a container of its own, and the way of a fork into the task's container."""

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from freehold.domain.errors import FreeholdError, Unavailable
from freehold.domain.ids import AppId
from freehold.wire.worker import TaskSpec
from freehold.worker.ports import Container, ContainerSpec, Runtime, Snapshotter
from freehold.worker.processes import ProcessMark, mark_of
from freehold.worker.runtimes.spec import TASK_CAPABILITIES
from freehold.worker.zygotes.lines import Line

_PATIENCE = 2.0  # seconds for a fork, and for it to become a task: a plain start is sure, and takes less than twice that
_NAMESPACES = ("net", "ipc", "uts", "cgroup", "mnt")  # mnt last: it changes what paths mean
# Ends with the exit status that it is told, and passes on what it is told to do to process 1 of its pid namespace.
_WAITER = """\
for s in HUP INT QUIT TERM USR1 USR2; do trap "kill -$s 1; a=1" $s; done
while :; do a=; read -r c && exit "$c"; [ "$a" ] || exit 137; done
"""
_SHELL = "bin/sh"
# Of containers that do not start, and of what comes from them.
FAILURES = (FreeholdError, OSError, KeyError, ValueError, TypeError, AttributeError, TimeoutError)
# One thread each while they are loaded: threads do not survive a fork. Tasks get their own number (`container/embryo.py`).
_ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZygoteMark:
    """A zygote's container, for an engine that comes after this one: it must live as long as the tasks that were forked there."""

    id: str
    mark: ProcessMark  # of its first process

    @classmethod
    def read(cls, found: dict[str, Any] | None) -> "ZygoteMark | None":
        """From a record. Raises KeyError or TypeError when it is none."""
        return cls(id=found["id"], mark=ProcessMark(**found["mark"])) if found else None


class Embryo:
    """A fork on its way to a task. It is process 1 of a pid namespace."""

    def __init__(self, line: Line, pid: int) -> None:
        self._line = line
        self.pid = pid

    @property
    def pidns(self) -> str:
        return f"/proc/{self.pid}/ns/pid"

    def close(self) -> None:
        """One that is no task yet ends."""
        self._line.close()

    async def enter(self, container: Container, waiter: int) -> None:
        """Enter this container, whose exit status is then what the task writes to `waiter`. Raises Unavailable or OSError."""
        descriptors = [os.open(f"/proc/{container.pid}/ns/{name}", os.O_RDONLY) for name in _NAMESPACES]
        try:
            await self._order({"capabilities": TASK_CAPABILITIES}, [*descriptors, waiter])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    async def become(self, task: TaskSpec, spec: ContainerSpec) -> None:
        """Be this task: with its environment, and the outputs of this container. Raises Unavailable with the reason, or OSError."""
        await self._order(_order(task, spec), [spec.stdout, spec.stderr])
        self._line.close()

    async def _order(self, order: dict[str, Any], descriptors: list[int]) -> None:
        with anyio.move_on_after(_PATIENCE):
            await self._line.send(order, descriptors)
            answer = await self._line.receive()
            if "refused" in answer:
                raise Unavailable(str(answer["refused"]))
            return
        msg = "It took too long to become a task."
        raise Unavailable(msg)


def _order(task: TaskSpec, spec: ContainerSpec) -> dict[str, Any]:
    sources = [entry for entry in (spec.cwd, *spec.env["PYTHONPATH"].split(":")) if entry and entry != "/pkg"]
    return {
        "env": dict(spec.env),
        "cwd": spec.cwd,
        "python": {"program": spec.argv[0], "seams": [str(seam) for seam in task.client.seams], "sources": sources},
    }


class Source:
    """Gone after `end`. `why_not` says why no task is forked from it: still loading, or broken. `key` is what it is made for."""

    def __init__(self, source_id: str, key: str, app_id: AppId | None, runtime: Runtime) -> None:
        self.id = source_id
        self.key = key
        self.app_id = app_id
        self.why_not = "It is still being made."
        self.size = 0  # bytes
        self.tasks = 0  # containers that live in its pid namespace
        self.used_at = 0.0
        self.written: tuple[Path, ...] = ()  # folders that belong over the roots of its tasks
        self._runtime = runtime
        self._mark: ProcessMark | None = None
        self._line = Line()
        self._turn = anyio.Lock()
        self._traces = AsyncExitStack()

    async def _run(self, spec: ContainerSpec) -> None:
        """Start what forks itself."""
        output = os.open(os.devnull, os.O_RDWR)
        env = {**spec.env, **_ONE_THREAD}
        try:
            container = await self._runtime.start(
                replace(spec, stdin=self._line.theirs.fileno(), stdout=output, stderr=output, env=env, is_zygote=True)
            )
        finally:
            os.close(output)
            self._line.give_away()
        self._traces.push_async_callback(container.destroy)
        self._mark = mark_of(container.pid)

    @property
    def mark(self) -> ZygoteMark | None:
        return ZygoteMark(id=self.id, mark=self._mark) if self._mark else None

    def conflicts(self, env: Mapping[str, str]) -> list[str]:
        """What this environment sets otherwise than it was when something read it."""
        del env
        return []

    async def fork(self, spec: ContainerSpec) -> tuple[Container, Embryo]:
        """A container in which a fork waits for its task. Raises Unavailable or OSError; then nothing of it is left."""
        with anyio.CancelScope(shield=True):
            embryo = await self._hatch()
            try:
                container = await self._settle(embryo, spec)
            except BaseException:
                embryo.close()
                raise
        return container, embryo

    async def _hatch(self) -> Embryo:
        line = Line()
        try:
            with anyio.move_on_after(_PATIENCE) as waiting:
                async with self._turn:
                    await self._line.send({}, [line.theirs.fileno()])
                line.give_away()
                await line.receive()
        except BaseException:
            line.close()
            self.why_not = "It has ended."
            raise
        if waiting.cancelled_caught:
            line.close()
            self.why_not = "It does not answer."
            raise Unavailable(self.why_not)
        return Embryo(line, line.peer)

    async def _settle(self, embryo: Embryo, spec: ContainerSpec) -> Container:
        reading, writing = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        try:
            shell = replace(spec, argv=("/" + _SHELL, "-c", _WAITER), env={}, stdin=reading, stdout=null, stderr=null, pidns=embryo.pidns)
            container = await self._runtime.start(shell)
            try:
                await anyio.to_thread.run_sync(self._runtime.enroll, spec.id, embryo.pid)
                await embryo.enter(container, writing)
            except BaseException:
                await container.destroy()
                raise
        finally:
            for descriptor in (reading, writing, null):
                os.close(descriptor)
        return container

    def retire(self) -> None:
        """Fork no more, and give its memory back; its tasks go on."""
        self.why_not = self.why_not or "It is no longer needed."
        self._line.close()

    async def end(self) -> None:
        """Remove its container, with every task that is still in it."""
        with anyio.CancelScope(shield=True), suppress(FreeholdError, OSError):
            self.retire()
            await self._traces.aclose()


class Remains:
    """What an earlier engine's zygote has left: a container that nothing is forked from any more, and that holds tasks."""

    def __init__(self, mark: ZygoteMark, runtime: Runtime, snapshots: Snapshotter) -> None:
        self.mark: ZygoteMark | None = mark
        self.id = mark.id
        self.tasks = 0
        self._found = mark
        self._runtime = runtime
        self._snapshots = snapshots

    async def end(self) -> None:
        with anyio.CancelScope(shield=True), suppress(FreeholdError, OSError):
            if container := await self._runtime.adopt(self.id, self._found.mark):
                await container.destroy()
            await self._snapshots.remove(self.id)


def has_shell(rootfs: Path) -> bool:
    """What stands for a fork in its container is a few lines of shell."""
    path = rootfs / _SHELL
    return path.exists() or path.is_symlink() or (rootfs / "bin").is_symlink()
