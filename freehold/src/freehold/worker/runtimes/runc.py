"""Containers by runc (or crun), which leaves after the start: the engine itself is the parent that waits for the end."""

import json
import os
import resource
import shutil
import signal
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from freehold.domain.errors import Unavailable
from freehold.worker import syscalls
from freehold.worker.cgroups import read_cgroups
from freehold.worker.naming import home_key
from freehold.worker.ports import ContainerExit, ContainerProcess, ContainerSpec, Counters, ExecSpec
from freehold.worker.processes import Process, ProcessMark, spawn
from freehold.worker.runtimes.execs import Execs
from freehold.worker.runtimes.pinning import pinned, remove_places
from freehold.worker.runtimes.programs import find_init, find_runtime
from freehold.worker.runtimes.spec import Machine, oci_config
from freehold.worker.runtimes.users import resolve_user

log = structlog.get_logger(__name__)

# A start takes 0.1 s; this long means that the machine is out of memory or its disk hangs.
_DEADLINE = 30.0
_END_DEADLINE = 5.0  # after SIGKILL
_INIT_DEADLINE = 2.0
_RUNC_ITSELF = "runc:["  # runc:[2:INIT], as /proc calls it
_INIT_POLL = 0.002


class RuncRuntime:
    """Implements `Runtime`. State is in `run/runc` of the engine's home, cgroups are under one group named after the home."""

    def __init__(self, *, home: Path) -> None:
        self._folder = home / "run" / "runc"
        self._cgroup = f"/freehold-{home_key(home)}"
        self._cgroups = read_cgroups()
        self._program = find_runtime(self._cgroups.mode)
        self._machine = Machine(init=find_init(), open_files=_open_files(), bounds_swap=self._cgroups.bounds_swap)
        self._execs = Execs(folder=self._folder / "execs", state=self._state, run=self._ask, open_files=self._machine.open_files)
        syscalls.become_subreaper()

    async def start(self, spec: ContainerSpec) -> "RuncContainer":
        # Half a start would leave a container that nobody knows, so cancellation waits for this short moment.
        with anyio.CancelScope(shield=True):
            try:
                container = await self._start(spec)
            except BaseException:
                await self.delete(spec.id)
                raise
        return container

    async def adopt(self, container_id: str, mark: ProcessMark) -> "RuncContainer | None":
        if not (self._state / container_id).exists():
            return None
        process = Process.find(mark)
        return RuncContainer(runtime=self, container_id=container_id, process=process) if process else None

    async def execute(self, container_id: str, spec: ExecSpec) -> ContainerProcess:
        return await self._execs.start(container_id, spec)

    async def sweep(self, keep: AbstractSet[str] = frozenset()) -> list[str]:
        await anyio.to_thread.run_sync(self._execs.sweep)
        leftovers = sorted(entry.name for entry in self._state.glob("*") if entry.name not in keep)
        async with anyio.create_task_group() as group:  # each takes a tenth of a second, most of it waiting
            for container_id in leftovers:
                group.start_soon(self.delete, container_id)
        await anyio.to_thread.run_sync(self._remove_half_made, keep)
        return leftovers

    def enroll(self, container_id: str, pid: int) -> None:
        self._cgroups.enroll(self._group_of(container_id), pid)

    async def delete(self, container_id: str) -> None:
        """Remove the container's state and cgroup, with whatever still runs in it. No such container: nothing to do."""
        if not (self._state / container_id).exists():
            return
        words = self._folder / f"{container_id}.delete.log"
        if why := await self._ask(("delete", "--force", container_id), words):
            log.warning("container_not_deleted", container_id=container_id, reason=why)
        words.unlink(missing_ok=True)

    def oom_kills(self, container_id: str) -> int:
        return self._cgroups.oom_kills(self._group_of(container_id))

    def usage(self, container_id: str) -> Counters:
        group = self._group_of(container_id)
        return Counters(
            cpu_us=self._cgroups.cpu_us(group),
            memory_bytes=self._cgroups.memory_bytes(group),
            most_memory_bytes=self._cgroups.most_memory_bytes(group),
        )

    def _remove_half_made(self, keep: AbstractSet[str]) -> None:
        """What runc was killed over, before it had noted a container: its group, with what waits there, and the bundle with its secrets."""
        self._cgroups.end_children(self._cgroup, keep)
        shutil.rmtree(self._folder / "bundles", ignore_errors=True)
        if not keep:
            self._cgroups.remove(self._cgroup)
            remove_places(self._pins)

    @property
    def _pins(self) -> Path:
        return self._folder / "pinned"

    @property
    def _state(self) -> Path:
        return self._folder / "state"

    def _group_of(self, container_id: str) -> str:
        return f"{self._cgroup}/{container_id}"

    async def _start(self, spec: ContainerSpec) -> "RuncContainer":
        bundle = self._folder / "bundles" / spec.id
        held = ExitStack()
        try:
            await anyio.to_thread.run_sync(self._write_bundle, spec, bundle, held)
            return await self._run_detached(spec, bundle)
        finally:
            await anyio.to_thread.run_sync(held.close)
            # Not only tidiness: the configuration holds secrets.
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(bundle, ignore_errors=True))

    def _write_bundle(self, spec: ContainerSpec, bundle: Path, held: ExitStack) -> None:
        bundle.mkdir(parents=True, mode=0o700)
        binds = tuple(pinned(bind, self._pins, held) for bind in spec.binds)
        config = oci_config(
            replace(spec, binds=binds, limits=self._cgroups.enforceable(spec.limits)),
            user=resolve_user(spec.rootfs, spec.user),
            cgroup=self._group_of(spec.id),
            machine=self._machine,
        )
        (bundle / "config.json").write_text(json.dumps(config))

    async def _run_detached(self, spec: ContainerSpec, bundle: Path) -> "RuncContainer":
        words, pid_file = bundle / "log", bundle / "pid"
        arguments = ("run", "--detach", "--bundle", str(bundle), "--pid-file", str(pid_file), spec.id)
        if why := await self._ask(arguments, words, stdin=spec.stdin, stdout=spec.stdout, stderr=spec.stderr):
            msg = f"{self._program.name} could not start the container: {why}"
            raise Unavailable(msg)
        return RuncContainer(runtime=self, container_id=spec.id, process=Process(int(pid_file.read_text())))

    async def _ask(
        self,
        arguments: tuple[str, ...],
        words: Path,
        *,
        root: Path | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> str:
        """Run the program; why it failed, or empty. It inherits these descriptors, and finds its containers in `root`."""
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            child = spawn(
                (str(self._program), "--root", str(root or self._state), "--log", str(words), "--log-format", "json", *arguments),
                stdin=stdin,
                stdout=null if stdout is None else stdout,
                stderr=null if stderr is None else stderr,
            )
        finally:
            os.close(null)
        return "" if await self._finish(child) == 0 else _last_words(words)

    async def _finish(self, child: Process) -> int | None:
        try:
            with anyio.fail_after(_DEADLINE):
                return await child.wait()
        except TimeoutError as error:
            child.signal(signal.SIGKILL)
            await child.wait()
            msg = f"{self._program.name} did not answer within {_DEADLINE:.0f} s. Look at the machine's memory and disk."
            raise Unavailable(msg) from error


class RuncContainer:
    """Implements `Container`."""

    def __init__(self, *, runtime: RuncRuntime, container_id: str, process: Process) -> None:
        self._runtime = runtime
        self._id = container_id
        self._process = process
        self._exit: ContainerExit | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> ContainerExit:
        code = await self._process.wait()
        if self._exit is None:  # the counter goes with the cgroup, so it is read once, before anyone can destroy
            self._exit = ContainerExit(code=code, out_of_memory=code != 0 and self._runtime.oom_kills(self._id) > 0)
        return self._exit

    def usage(self) -> Counters:
        return self._runtime.usage(self._id)

    async def execute(self, spec: ExecSpec) -> ContainerProcess:
        return await self._runtime.execute(self._id, spec)

    async def signal(self, number: int) -> None:
        if number != signal.SIGKILL:
            await self._init_is_ready()
        self._process.signal(number)

    async def _init_is_ready(self) -> None:
        """The kernel drops signals to a process 1 that has no handlers yet, and what runc has caught and not handled when it becomes one."""
        with anyio.move_on_after(_INIT_DEADLINE):
            while not _keeps_signals(self.pid):  # noqa: ASYNC110 — the kernel tells nobody about this
                await anyio.sleep(_INIT_POLL)

    async def destroy(self) -> None:
        with anyio.CancelScope(shield=True):
            self._process.signal(signal.SIGKILL)
            await self._end()
            await self._runtime.delete(self._id)

    async def _end(self) -> None:
        """Processes that hang in the kernel outlive SIGKILL, as does the first of a pid namespace while one of it waits to be reaped."""
        try:
            with anyio.fail_after(_END_DEADLINE):
                await self.wait()
        except TimeoutError as error:
            msg = f"Process {self.pid} of container {self._id} does not end. Look for zombies, and at the machine's disks."
            raise Unavailable(msg) from error


def _keeps_signals(pid: int) -> bool:
    """Whether a process passes SIGINT on, or has ended.

    tini first blocks signals, then ignores SIGTTIN, and from then on waits for those that it has blocked; while it waits, /proc calls
    them not blocked. What stands for a fork of a zygote catches SIGINT; so does runc itself, just before it becomes one of these.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return True
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    keeps = _has(status["SigIgn"], signal.SIGTTIN) or _has(status["SigCgt"], signal.SIGINT)
    return status["State"].startswith("Z") or (keeps and not status["Name"].startswith(_RUNC_ITSELF))


def _has(mask: str, number: int) -> bool:
    return bool(int(mask, 16) & 1 << (number - 1))


def _open_files() -> int:
    """As many as servers usually want, or what this process may grant."""
    return min(65_536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _last_words(words: Path) -> str:
    """The last error in a log of JSON lines."""
    lines = words.read_text(errors="replace").splitlines() if words.exists() else []
    messages = [entry.get("msg", "") for entry in map(json.loads, lines) if entry.get("level") == "error"]
    return messages[-1] if messages else "it gave no reason"
