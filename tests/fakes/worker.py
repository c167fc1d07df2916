"""A worker's surroundings without a machine: containers that end when told, roots that are folders, networks that are names."""

import os
import re
import shutil
import signal
from collections import defaultdict
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio

from freehold.domain.errors import Unavailable
from freehold.domain.ids import LayerId
from freehold.domain.images import ImageConfig
from freehold.wire.worker import BuiltImage, ClientRuntime, TaskSample, TaskSpec
from freehold.worker.gpus import PretendedGpus
from freehold.worker.ports import ContainerExit, ContainerSpec, Counters, NotExecuted
from freehold.worker.processes import Process, ProcessMark, mark_of
from freehold.worker.worker import Worker

DEADLINE = 30
BUSYBOX = Path("/bin/busybox")


class FakeContainer:
    def __init__(self, spec: ContainerSpec, runtime: "FakeRuntime") -> None:
        self.spec = spec
        self.pid = os.getpid()
        self.signals: list[int] = []
        self.outputs = (os.dup(spec.stdout), os.dup(spec.stderr))
        self.counters = Counters()
        self.executed: list[FakeProcess] = []
        self._runtime = runtime
        self._exit: ContainerExit | None = None
        self._ended = anyio.Event()

    def end(self, code: int | None, *, out_of_memory: bool = False) -> None:
        if self._exit is None:
            self._exit = ContainerExit(code=code, out_of_memory=out_of_memory)
            self._ended.set()
            for output in self.outputs:
                os.close(output)
            for process in self.executed:
                process.kill()

    async def execute(self, spec):
        if self._exit is not None:
            msg = "cannot exec in a stopped container"
            raise NotExecuted(msg, 127)
        self.executed.append(FakeProcess(spec))
        return self.executed[-1]

    def say(self, text: str) -> None:
        os.write(self.outputs[0], text.encode())

    async def wait(self) -> ContainerExit:
        await self._ended.wait()
        assert self._exit is not None
        return self._exit

    def usage(self) -> Counters:
        return self.counters

    async def signal(self, number: int) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL or number in self._runtime.obeyed_signals:
            self.end(128 + number)

    async def destroy(self) -> None:
        self.end(128 + signal.SIGKILL)
        self._runtime.running.pop(self.spec.id, None)


class FakeProcess:
    """A program of the machine itself, as a container's process. It ends with the container, or when killed."""

    terminal = None

    def __init__(self, spec):
        null = os.open(os.devnull, os.O_RDWR)
        ends = [null if end is None else end for end in (spec.stdin, spec.stdout, spec.stderr)]
        try:
            pid = os.posix_spawnp(
                spec.argv[0],
                spec.argv,
                {**spec.env, "PATH": os.environ["PATH"]},
                file_actions=[(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(ends)],
                setsid=True,
            )
        except FileNotFoundError as error:
            msg = f"{spec.argv[0]}: executable file not found"
            raise NotExecuted(msg, 127) from error
        finally:
            os.close(null)
        self._process = Process(pid)

    async def wait(self):
        return await self._process.wait()

    def kill(self):
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


class FakeRuntime:
    """Runs nothing: a container ends when told, by a signal, or at once if its command is `exit N`."""

    def __init__(self) -> None:
        self.running: dict[str, FakeContainer] = {}
        self.started: list[FakeContainer] = []
        self.obeyed_signals = {signal.SIGINT}
        self.refusal = ""
        self._changed = anyio.Event()

    async def start(self, spec: ContainerSpec) -> FakeContainer:
        if self.refusal:
            raise Unavailable(self.refusal)
        container = FakeContainer(spec, self)
        self.running[spec.id] = container
        self.started.append(container)
        if found := re.search(r"exit (\d+)", " ".join(spec.argv)):
            container.end(int(found[1]))
        self._changed.set()
        return container

    async def adopt(self, container_id: str, mark: ProcessMark) -> FakeContainer | None:
        assert mark == mark_of(os.getpid())
        return self.running.get(container_id)

    def enroll(self, container_id: str, pid: int) -> None:
        pass

    async def sweep(self, keep: AbstractSet[str] = frozenset()) -> list[str]:
        left = sorted(self.running.keys() - keep)
        for container_id in left:
            await self.running[container_id].destroy()
        return left

    async def container(self, container_id: str) -> FakeContainer:
        """The container of this id, once it has started."""
        with anyio.fail_after(DEADLINE):
            while container_id not in self.running:
                self._changed = anyio.Event()
                await self._changed.wait()
        return self.running[container_id]


class FakeSnapshots:
    """A root is a folder with the lowest thing a task needs, a python. Nothing is mounted."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.roots: dict[str, tuple[tuple[LayerId, ...], tuple[Path, ...]]] = {}
        self.on_mount = anyio.Event()
        self.on_mount.set()

    async def mount(self, key, layers, extra=()):
        await self.on_mount.wait()
        root = self._home / "roots" / key
        (root / "usr/bin").mkdir(parents=True)
        (root / "usr/bin/python3").touch()
        self.roots[key] = (layers, extra)
        return root

    async def unmount(self, key):
        pass

    async def commit(self, key, layer):
        self._home.joinpath("layers").mkdir(exist_ok=True)
        (self._home / "roots" / key).rename(self.path(layer))

    async def written(self, key):
        return None

    async def remove(self, key):
        shutil.rmtree(self._home / "roots" / key, ignore_errors=True)
        self.roots.pop(key, None)

    async def sweep(self, keep=frozenset()):
        left = sorted(self.roots.keys() - keep)
        for key in left:
            await self.remove(key)
        return left

    def has(self, layer):
        return self.path(layer).exists()

    def path(self, layer):
        return self._home / "layers" / layer

    def staging(self):
        folder = self._home / "staging"
        folder.mkdir()
        return folder

    def adopt(self, folder, layer):
        self._home.joinpath("layers").mkdir(exist_ok=True)
        folder.rename(self.path(layer))


class FakeNetworks:
    def __init__(self) -> None:
        self.present: dict[str, bool] = {}  # key → outbound

    async def start(self):
        pass

    async def stop(self):
        self.present.clear()

    async def adopt(self, key, *, pid, address):
        self.present[key] = bool(address)
        return f"/fake/{key}"

    def address_of(self, key):
        return "10.0.0.2" if self.present[key] else ""

    async def create(self, key, *, outbound):
        self.present[key] = outbound
        return f"/fake/{key}"

    async def remove(self, key):
        self.present.pop(key, None)


class FakeBundles:
    """`asked` is set when somebody wants a client, which `client` then is; `error` is raised instead of giving it."""

    def __init__(self, error=None) -> None:
        self.asked = anyio.Event()
        self.client = None
        self.error = error

    async def layers_for(self, client, image_layers):
        self.client = client
        self.asked.set()
        if self.error:
            raise self.error
        return (Path(f"/bundles/modal-{client.version}"),)


class FakeTrees:
    async def materialize(self, tree):
        return Path("/trees") / tree.id


class NoModules:
    async def of(self, image_id, app_id):
        return []


class FakeBuilder:
    """Answers each build when told, or raises what it is told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.answer = anyio.Event()
        self.outcome: BuiltImage | str | Exception = BuiltImage(layers=(LayerId("built"),), config=ImageConfig())

    async def build(self, spec, log):
        self.begun.append(spec.image_id)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        log([])
        await self.answer.wait()
        self.at_once -= 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class RecordedReports:
    """Keeps every fact, and lets a test wait for the first of a kind about an id."""

    def __init__(self) -> None:
        self.logs: dict[str, list] = defaultdict(list)
        self.facts: list[tuple[str, str]] = []
        self.samples: list[TaskSample] = []
        self._answers: dict[tuple[str, str], object] = {}
        self._changed = anyio.Event()

    async def task_started(self, task_id, address, start="", no_snapshot=""):
        self._record("started", task_id, start)

    async def task_exited(self, task_id, exit):  # noqa: A002 — as in the port
        self._record("exited", task_id, exit)

    def tasks_sampled(self, samples):
        self.samples += samples

    def task_logged(self, task_id, entries):
        self.logs[task_id] += entries

    def exec_ended(self, task_id, exec_id, end):
        self._record("command ended", exec_id, end)

    def build_logged(self, image_id, entries):
        self.logs[image_id] += entries

    async def build_function_ended(self, task_id):
        return ""

    async def build_finished(self, image_id, outcome):
        self._record("built", image_id, outcome)

    async def of(self, kind: str, subject: str):
        """What was reported, once it is."""
        with anyio.fail_after(DEADLINE):
            while (kind, subject) not in self._answers:
                self._changed = anyio.Event()
                await self._changed.wait()
        return self._answers[kind, subject]

    def text(self, subject: str) -> str:
        return "".join(entry.text for entry in self.logs[subject])

    def _record(self, kind, subject, answer=None):
        self.facts.append((kind, subject))
        self._answers[kind, subject] = answer
        self._changed.set()


class StillClock:
    def now(self):
        return datetime(2026, 1, 2, tzinfo=UTC)

    def monotonic(self):
        return 0.0


async def no_door(namespace, gateway, *, task_status):
    task_status.started()


CLIENT = ClientRuntime(version="1.6.4", python_series="3.11", with_dependencies=True, with_web=False)
A_TASK = TaskSpec(task_id="ta-1", layers=("base",), trees=(), image=ImageConfig(), client=CLIENT, arguments=b"arguments", token="a-token")


def a_task(**changes) -> TaskSpec:
    return replace(A_TASK, **changes)


def a_worker(home: Path, **parts) -> Worker:
    """A worker in fake surroundings, those apart that are given."""
    defaults = {
        "runtime": FakeRuntime(),
        "snapshots": FakeSnapshots(home),
        "networks": FakeNetworks(),
        "trees": FakeTrees(),
        "bundles": FakeBundles(),
        "builder": FakeBuilder(),
        "modules": NoModules(),
        "reports": RecordedReports(),
        "gpus": PretendedGpus([]),
        "door": no_door,
        "grace": timedelta(seconds=5),
    }
    return Worker(home=home, gateway=("127.0.0.1", 8980), clock=StillClock(), **{**defaults, **parts})


def busybox_rootfs(folder: Path) -> Path:
    """A small root filesystem: busybox and its commands, made of what the machine has (Debian package busybox-static)."""
    (folder / "bin").mkdir(parents=True)
    shutil.copy2(BUSYBOX, folder / "bin/busybox")
    for name in ("sh", "cat", "echo", "env", "id", "ip", "kill", "ls", "mount", "nc", "ps", "sleep", "true", "wget", "head", "yes"):
        (folder / "bin" / name).symlink_to("busybox")
    for name in ("tmp", "root", "etc"):
        (folder / name).mkdir()
    return folder
