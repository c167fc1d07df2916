"""The seams inside a worker: root filesystems, networks and runtimes, each replaceable and proved by its contract suite."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from anyio.abc import TaskStatus

from freehold.domain.files import FileTree
from freehold.domain.ids import LayerId
from freehold.domain.logs import LogEntry
from freehold.wire.execs import Terminal
from freehold.wire.worker import BuildSpec, BuiltImage, ClientRuntime, Limits
from freehold.worker.processes import ProcessMark


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A file or folder of the machine that a container sees.

    `below` names a folder below the source, where other containers write: it is found without following links, and made if it is not there.
    """

    source: Path
    target: str
    read_only: bool = True
    below: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A character device that a container may use; `path` is where it finds it."""

    path: str
    major: int
    minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A program of the machine that the runtime runs while it makes a container; `kind` is when, in the words of OCI."""

    kind: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """What a container gets to use hardware with."""

    devices: tuple[Device, ...] = ()
    binds: tuple[Bind, ...] = ()
    hooks: tuple[Hook, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """One container: a mounted root, a process, and what it may use and see.

    `stdout` and `stderr` are open file descriptors that the container inherits; the caller keeps and closes its own ends.
    `netns` is the path of a network namespace; None gives the container a fresh, empty one with only loopback. `pidns` is the path of a
    pid namespace that has its process 1 already, which then is the one that reaps and passes signals on; None gives it a fresh one. Where
    there is one, the container's own process is a shell that waits for the end of another, and may do no more than that takes.
    """

    id: str  # unique on this machine; letters, digits and dashes
    rootfs: Path
    argv: tuple[str, ...]
    stdout: int
    stderr: int
    env: Mapping[str, str] = field(repr=False, default_factory=dict)
    cwd: str = "/"
    user: str = ""  # "name", "uid", "uid:gid"; empty is root
    hostname: str = "modal"
    binds: tuple[Bind, ...] = ()
    limits: Limits = field(default_factory=Limits)
    netns: str | None = None
    pidns: str | None = None
    stdin: int | None = None  # an open descriptor; None: nothing to read
    equipment: Equipment = field(default_factory=Equipment)
    is_zygote: bool = False  # it may make pid namespaces, and enter namespaces that it is handed


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerExit:
    """How the first process of a container ended: exit status, or 128 + signal; None if an earlier engine had started it and nobody
    can tell.

    `out_of_memory`: it failed, and the kernel had killed processes of the container because its memory limit was reached.
    """

    code: int | None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Of a container: CPU time since it was made, in microseconds; memory now, and the most there was. 0 is nothing, or nobody knows."""

    cpu_us: int = 0
    memory_bytes: int = 0
    most_memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSpec:
    """A further process of a container: what it runs, and what it gets beside that container's own confinement.

    Descriptors are open ones that it inherits; the caller keeps and closes its own ends. None is nothing: with a `terminal` it has that.
    `like` names a container whose list of system calls it is to have: where the first process of its own has a shorter one.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False, default_factory=dict)
    cwd: str = "/"
    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None
    terminal: Terminal | None = None
    like: str = ""


class NotExecuted(Exception):
    """A program that a container has not, or that cannot be run there; in words for whoever wanted it, and the status that shells give it."""

    def __init__(self, words: str, code: int) -> None:
        super().__init__(words)
        self.code = code


class ContainerProcess(Protocol):
    """`terminal` is the engine's end of its terminal, to be closed by whoever started the process; None without one."""

    terminal: int | None

    async def wait(self) -> int:
        """Exit status, or 128 + signal. To be called by one, and until it returns: so the process is reaped, and its traces removed."""
        ...

    def kill(self) -> None:
        """With all processes of its group."""
        ...


class Container(Protocol):
    """A running container. `wait` may be called by several; all get the same answer, also after the end."""

    @property
    def pid(self) -> int: ...

    async def wait(self) -> ContainerExit: ...

    async def execute(self, spec: ExecSpec) -> ContainerProcess:
        """Start another process in it. Raises NotExecuted, or Unavailable when the runtime cannot; the container may have ended."""
        ...

    async def signal(self, number: int) -> None:
        """Send a signal to the first process; nothing happens if it has ended."""
        ...

    def usage(self) -> Counters:
        """What its processes have used by now, also after the end; zeros after `destroy`. It reads some small files: from a thread."""
        ...

    async def destroy(self) -> None:
        """Kill what still runs and remove every trace (state, cgroup). Safe to repeat.

        Raises Unavailable when it does not end within seconds; what there is of it stays then, for another try or the sweep.
        """
        ...


class Runtime(Protocol):
    """Runs containers. After `destroy`, or after `sweep`, nothing of a container is left: no process, mount, cgroup, namespace."""

    async def start(self, spec: ContainerSpec) -> Container:
        """Returns when the process runs. Raises Unavailable with the runtime's own words when it cannot."""
        ...

    async def adopt(self, container_id: str, mark: ProcessMark) -> Container | None:
        """A container that an earlier engine of this home started, if its first process, which had this mark, still runs."""
        ...

    def enroll(self, container_id: str, pid: int) -> None:
        """Put a process under the limits of a container that runs. Raises OSError when either has gone."""
        ...

    async def sweep(self, keep: AbstractSet[str] = frozenset()) -> list[str]:
        """Destroy every container that an earlier engine of this home left behind, but those to keep; their ids. Of those that are kept,
        kill the processes that it had them execute: who started these cannot reach them any more.
        """
        ...


class Snapshotter(Protocol):
    """Layers and root filesystems.

    A layer is a finished folder of changes, identified by a LayerId, immutable and shared. A root filesystem is a stack of layers,
    lowest first, with a writable folder on top, mounted at a path. `commit` turns the writable folder of an unmounted root into a
    layer; `remove` throws it away.

        root = await snapshots.mount("build-1", layers=(debian, python))
        ... run apt-get in root ...
        await snapshots.unmount("build-1")
        layer = await snapshots.commit("build-1", as_layer)
    """

    async def mount(self, key: str, layers: tuple[LayerId, ...], extra: tuple[Path, ...] = ()) -> Path:
        """Mount a root; `extra` are read-only folders over the layers, in this order (mounts, the client)."""
        ...

    async def unmount(self, key: str) -> None: ...

    async def commit(self, key: str, layer: LayerId) -> None:
        """Atomic: the layer exists whole or not at all. If it exists already, the writable folder is thrown away."""
        ...

    async def written(self, key: str) -> Path | None:
        """A folder of what has been written into a root by now, to be mounted over the same layers; None if that is nothing. It shares the
        files with the root, which must not be written to any more, and goes with it.
        """
        ...

    async def remove(self, key: str) -> None:
        """Unmount if mounted, delete the writable folder. Safe to repeat."""
        ...

    def has(self, layer: LayerId) -> bool: ...

    def path(self, layer: LayerId) -> Path: ...

    def staging(self) -> Path:
        """A fresh, empty folder on the layers' filesystem, in which a layer may be assembled by hand (`adopt`)."""
        ...

    def adopt(self, folder: Path, layer: LayerId) -> None:
        """Make a staged folder a layer, atomically."""
        ...

    async def sweep(self, keep: AbstractSet[str] = frozenset()) -> list[str]:
        """Remove every root and staged folder that an earlier engine of this home left behind, but the roots to keep; the keys of the
        roots. A root that is kept may still be mounted in its container, though no longer here; `remove` works when that has ended.
        """
        ...


class Networks(Protocol):
    """Network namespaces. Each container gets one of its own; containers reach neither each other nor services of the machine."""

    async def start(self) -> None:
        """Make what all containers share, and remove what an earlier engine left and nobody has adopted."""
        ...

    async def stop(self) -> None:
        """Remove everything of this engine: namespaces, interfaces, filter rules."""
        ...

    async def adopt(self, key: str, *, pid: int, address: str) -> str:
        """Take over, before `start`, the namespace of a process that an earlier engine of this home started; its path. `address` is what
        that engine's `address_of` said. Raises Unavailable when the way out that belongs to the address is gone.
        """
        ...

    def address_of(self, key: str) -> str:
        """Of its interface; empty without a way out."""
        ...

    async def create(self, key: str, *, outbound: bool) -> str:
        """A namespace with loopback and, if outbound, an interface named eth0 with a way out; its path."""
        ...

    async def remove(self, key: str) -> None: ...


class Door(Protocol):
    """Serves 127.0.0.1 on the gateway's port inside a namespace, until it is cancelled; started when connections are accepted."""

    async def __call__(self, namespace: str, gateway: tuple[str, int], *, task_status: TaskStatus[None]) -> None: ...


class ContentStore(Protocol):
    """Where a worker finds file contents by digest."""

    def path_of(self, digest: str) -> Path:
        """The file with this content. Raises NotFound."""
        ...


class Trees(Protocol):
    """Makes file trees into folders that can be layers."""

    async def materialize(self, tree: FileTree) -> Path:
        """The folder that holds this tree; made once, then shared. Raises NotFound when a file's content is not here."""
        ...


class Bundles(Protocol):
    """The modal package and what comes with it, as folders that can be layers."""

    async def layers_for(self, client: ClientRuntime, image_layers: tuple[LayerId, ...]) -> tuple[Path, ...]: ...


class ModuleLists(Protocol):
    """What starts were seen to import from their image's own packages."""

    async def of(self, image_id: str, app_id: str) -> Sequence[str]:
        """In an order in which it can be imported; empty when nothing is known."""
        ...


class Builder(Protocol):
    """Builds images. The answer is the image, or the text that says why there is none; `log` takes output as it comes."""

    async def build(self, spec: BuildSpec, log: Callable[[list[LogEntry]], None]) -> BuiltImage | str: ...
