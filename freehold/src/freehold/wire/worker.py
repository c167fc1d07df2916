"""What control plane and worker say to each other: wishes (specs) go down, facts (reports) come up. Ours, not Modal's."""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Protocol

from freehold.domain.files import FileTree
from freehold.domain.ids import AppId, FunctionId, ImageId, LayerId, TaskId
from freehold.domain.images import ImageConfig
from freehold.domain.logs import LogEntry
from freehold.domain.seams import Seam
from freehold.domain.tasks import TaskExit
from freehold.domain.usage import Reading
from freehold.domain.volumes import VolumeMount
from freehold.wire.execs import ExecEnd, WorkerExecs


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one container; 0 means none. CPU in thousandths of a core."""

    memory_mib: int = 0
    milli_cpu: int = 0
    pids: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRuntime:
    """Which modal package the container gets over its image.

    `with_dependencies` adds what that package imports; `with_web` adds FastAPI, for images that lack it. Both come after the
    image's own site-packages, so that the user's versions win.
    """

    version: str  # of the modal package: "1.6.4"
    python_series: str  # of the image: "3.11"
    with_dependencies: bool
    with_web: bool
    with_server: bool = False  # what serves HTTP in it (`Seam.WEB`)
    seams: tuple[Seam, ...] = ()  # parts of its container runtime that are replaced by ours


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A container that should run. `env` holds secrets: it is never logged and never part of a repr."""

    task_id: TaskId
    layers: tuple[LayerId, ...]  # of the image, lowest first
    trees: tuple[FileTree, ...]  # mounts, over the image in this order
    image: ImageConfig
    client: ClientRuntime
    arguments: bytes = field(repr=False)  # serialized ContainerArguments
    token: str = field(repr=False)  # identity of the task on every RPC
    env: Mapping[str, str] = field(repr=False, default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    gpus: tuple[int, ...] = ()  # of the machine, by index
    network: bool = True  # outbound
    volumes: tuple[VolumeMount, ...] = ()
    app_id: AppId | None = None  # whose tasks may be forked from one process; None: it is started plainly
    image_id: ImageId | None = None
    function_id: FunctionId | None = None  # whose next task may find a container made for it
    snapshot: str = ""  # what its state after `enter(snap=True)` comes from, beside all this; empty: it is not forked from that
    startup_seconds: float = 300.0  # within which it must be ready


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFunctionSpec:
    """`Image.run_function`: a function to run once over the image so far; what it writes is the layer."""

    arguments: bytes = field(repr=False)  # serialized ContainerArguments
    task_id: TaskId
    token: str = field(repr=False)
    trees: tuple[FileTree, ...]
    client: ClientRuntime
    env: Mapping[str, str] = field(repr=False, default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSpec:
    """An image that should exist: Dockerfile-like commands over earlier images of ours or over a base from outside.

    `bases` names the earlier images by the tag used in the commands (`FROM base`, `COPY --from=base`).
    """

    image_id: ImageId
    commands: tuple[str, ...]
    bases: Mapping[str, "BuiltImage"] = field(default_factory=dict)
    context: FileTree | None = None  # what COPY and ADD read from
    context_files: Mapping[str, bytes] = field(default_factory=dict)  # small files sent inline: path → content
    build_args: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(repr=False, default_factory=dict)  # secrets: seen by RUN, kept in no layer
    function: BuildFunctionSpec | None = None
    force: bool = False  # build all steps anew
    client_version: str = ""  # of the modal package that functions over this image will run; empty when nobody said
    limits: Limits = field(default_factory=Limits)
    gpus: tuple[int, ...] = ()  # for its steps or its function: others may use them too
    remark: str = ""  # for its log, at its start


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    layers: tuple[LayerId, ...]
    config: ImageConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSample:
    """What the container of a task has used by now, all its processes together; see `domain.usage`."""

    task_id: TaskId
    reading: Reading


class WorkerReports(Protocol):
    """Facts that a worker reports, each once, in the order in which they happened for one id. Calls must return quickly."""

    async def task_started(self, task_id: TaskId, address: str, start: str = "", no_snapshot: str = "") -> None:
        """Its container runs. `address` is where this machine reaches it; empty without a network. `start` is "forked", or says why not:
        "plain: …"; empty when it was another engine's. `no_snapshot` is why it was not forked from its function's snapshot, if it has one.
        """
        ...

    async def task_exited(self, task_id: TaskId, end: TaskExit) -> None: ...

    def tasks_sampled(self, samples: Sequence[TaskSample]) -> None:
        """Of all that run, every few seconds; of one once more when it has ended, before that is reported."""
        ...

    def task_logged(self, task_id: TaskId, entries: list[LogEntry]) -> None: ...

    def exec_ended(self, task_id: TaskId, exec_id: str, end: ExecEnd) -> None:
        """Of a command that was started in the task's container (`execs`)."""
        ...

    def build_logged(self, image_id: ImageId, entries: list[LogEntry]) -> None: ...

    async def build_function_ended(self, task_id: TaskId) -> str:
        """The container of a `run_function` has exited: why its function failed, empty if it succeeded. Asked before its layer is kept."""
        ...

    async def build_finished(self, image_id: ImageId, outcome: "BuiltImage | str") -> None:
        """`outcome` is the image, or the text that says why there is none."""
        ...


class WorkerControl(Protocol):
    """What a placement asks of a worker. Wishes are complete and may be repeated: the same set twice changes nothing."""

    @property
    def execs(self) -> WorkerExecs:
        """Commands in the containers of its tasks."""
        ...

    async def adopt(self, candidates: Collection[TaskId]) -> AbstractSet[TaskId]:
        """Asked first of all: which of these tasks, wished for by an engine that has died, still run. They go on, as if this one had
        wished for them; others are removed.
        """
        ...

    def set_desired(self, tasks: Mapping[TaskId, TaskSpec]) -> None:
        """The full set of tasks that should run. Others are stopped: SIGINT, a grace period, SIGKILL."""
        ...

    def expect(self, task: TaskSpec) -> None:
        """Tasks like this one, which has no id, are likely: be ready to start them quickly."""
        ...

    def build(self, spec: BuildSpec) -> None:
        """Start this build unless it is running already."""
        ...

    async def kill(self, task_id: TaskId) -> None:
        """End a task at once, without grace."""
        ...
