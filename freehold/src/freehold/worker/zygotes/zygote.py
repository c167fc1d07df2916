"""One zygote: its container, what it has imported, and how a task is forked from it into the task's own container."""

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import structlog

from freehold.domain.errors import FreeholdError, Unavailable
from freehold.domain.ids import AppId, ImageId, LayerId
from freehold.domain.images import ImageConfig
from freehold.wire.worker import ClientRuntime, TaskSpec
from freehold.worker import launch
from freehold.worker.ports import Bundles, Container, ContainerSpec, Runtime, Snapshotter
from freehold.worker.processes import ProcessMark, mark_of
from freehold.worker.runtimes.spec import TASK_CAPABILITIES
from freehold.worker.zygotes.lines import Line

log = structlog.get_logger(__name__)

_PATIENCE = 2.0  # seconds for a fork, and for it to become a task: a plain start is sure, and takes less than twice that
_LOADING = 90.0
_NAMESPACES = ("net", "ipc", "uts", "cgroup", "mnt")  # mnt last: it changes what paths mean
# Ends with the exit status that it is told, and passes on what it is told to do to process 1 of its pid namespace.
_WAITER = """\
for s in HUP INT QUIT TERM USR1 USR2; do trap "kill -$s 1; a=1" $s; done
while :; do a=; read -r c && exit "$c"; [ "$a" ] || exit 137; done
"""
_SHELL = "bin/sh"
# One thread each while they are loaded: threads do not survive a fork. Tasks get their own number (`container/embryo.py`).
_ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)
# Read by the interpreter or by native code where nobody sees it.
_PREFIXES = (
    "PYTHON",
    "LD_",
    "LC_",
    "MALLOC_",
    "GLIBC_",
    "OMP_",
    "KMP_",
    "MKL_",
    "OPENBLAS_",
    "GOTO_",
    "BLIS_",
    "CUDA_",
    "NVIDIA_",
    "ASAN_",
)
_NAMES = frozenset({"LANG", "LANGUAGE", "TZ", "HOME", "PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF"})
_OF_THE_TASK = frozenset({"PYTHONPATH"})  # set anew in each


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What a zygote is made for: it serves tasks of this app over this image and client, and no others."""

    app_id: AppId | None
    image_id: ImageId | None
    layers: tuple[LayerId, ...]
    image: ImageConfig
    client: ClientRuntime
    environment: Mapping[str, str]

    @classmethod
    def of(cls, task: TaskSpec) -> "Stock":
        ours = {
            name: value
            for name, value in task.env.items()
            if name in {"MODAL_ENVIRONMENT", "MODAL_CLOUD_PROVIDER", "MODAL_REGION", "MODAL_IMAGE_ID"}
        }
        env = launch.environment(task.image, ours, task_id="", token="")
        for name in ("MODAL_OVERRIDE_HEADERS", "MODAL_TASK_ID", "MODAL_CONTAINER_ARGUMENTS_PATH", "MODAL_SERVER_URL"):
            del env[name]
        return cls(
            app_id=task.app_id,
            image_id=task.image_id,
            layers=task.layers,
            image=task.image,
            client=task.client,
            environment={**env, "PYTHONPATH": "/pkg"},
        )

    @property
    def key(self) -> str:
        return repr((self.app_id, self.image_id, self.layers, self.image, self.client, sorted(self.environment.items())))


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


class Zygote:
    """Made by `start`; gone after `end`. `why_not` says why no task is forked from it: still loading, or broken."""

    def __init__(self, zygote_id: str, stock: Stock) -> None:
        self.id = zygote_id
        self.stock = stock
        self.why_not = "It is still importing."
        self.is_loading = True
        self.size = 0  # bytes
        self.spoiled_by = ""  # the module after which it must not be forked
        self.modules: frozenset[str] = frozenset()  # that it was told to import
        self.tasks = 0  # containers that live in its pid namespace
        self.used_at = 0.0
        self.reads: Mapping[str, str] = {}  # names in the environment, and by which module each was read; empty for modal's own runtime
        self._mark: ProcessMark | None = None
        self._line = Line()
        self._turn = anyio.Lock()
        self._traces = AsyncExitStack()

    @property
    def mark(self) -> ZygoteMark | None:
        return ZygoteMark(id=self.id, mark=self._mark) if self._mark else None

    async def start(self, modules: tuple[str, ...], *, runtime: Runtime, snapshots: Snapshotter, bundles: Bundles) -> None:
        """Returns when tasks can be forked, or never will: then `why_not` stays."""
        self._runtime, self.modules = runtime, frozenset(modules)
        try:
            with anyio.fail_after(_LOADING):
                await self._begin(runtime, snapshots, bundles)
                await self._line.send({"modules": modules})
                self._take(await self._line.receive())
        except (FreeholdError, OSError, KeyError, ValueError, TypeError, AttributeError, TimeoutError) as error:
            self.why_not = f"The process to fork from could not be made: {error or type(error).__name__}"
        finally:
            self.is_loading = False

    def _take(self, told: dict[str, Any]) -> None:
        self.size, self.spoiled_by = int(told["size"]), str(told["spoiled"])
        self.reads = {str(name): str(module) for name, module in told["reads"].items()}
        self.why_not = f"It must not be forked: {self.spoiled_by} {told['why']}." if told["why"] else ""
        log.info("zygote_ready", zygote=self.id, app_id=self.stock.app_id, seconds=told["took"], mib=self.size >> 20, failed=told["failed"])

    async def _begin(self, runtime: Runtime, snapshots: Snapshotter, bundles: Bundles) -> None:
        stock = self.stock
        layers = await bundles.layers_for(stock.client, stock.layers)
        self._traces.push_async_callback(snapshots.remove, self.id)
        rootfs = await snapshots.mount(self.id, stock.layers, layers)
        python = launch.find_python(rootfs, stock.environment["PATH"])
        output = os.open(os.devnull, os.O_RDWR)
        try:
            container = await runtime.start(
                ContainerSpec(
                    id=self.id,
                    rootfs=rootfs,
                    argv=(python, "-m", f"{launch.OWN_PACKAGE}.zygote"),
                    stdin=self._line.theirs.fileno(),
                    stdout=output,
                    stderr=output,
                    env={**stock.environment, **_ONE_THREAD},
                    cwd=launch.workdir(stock.image),
                    is_zygote=True,
                )
            )
        finally:
            os.close(output)
            self._line.give_away()
        self._traces.push_async_callback(container.destroy)
        self._mark = mark_of(container.pid)

    def conflicts(self, env: Mapping[str, str]) -> list[str]:
        """What this environment sets otherwise than it was when something read it."""
        watched = {name for name in {*env, *self.stock.environment} if name in self.reads or _is_native(name)}
        return sorted(name for name in watched - _OF_THE_TASK if env.get(name) != self.stock.environment.get(name))

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
            async with self._turn:
                await self._line.send({}, [line.theirs.fileno()])
            line.give_away()
            with anyio.move_on_after(_PATIENCE) as waiting:
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


def _is_native(name: str) -> bool:
    return name in _NAMES or name.startswith(_PREFIXES)


def has_shell(rootfs: Path) -> bool:
    """What stands for a fork in its container is a few lines of shell."""
    path = rootfs / _SHELL
    return path.exists() or path.is_symlink() or (rootfs / "bin").is_symlink()
