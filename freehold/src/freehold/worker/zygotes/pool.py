"""Which zygotes there are: one for each app, image and client that wants tasks, within a budget of memory. Whoever has none starts plainly."""

import secrets
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial

import anyio
import structlog
from anyio.abc import TaskGroup

from freehold.domain.clock import Clock
from freehold.domain.errors import FreeholdError
from freehold.domain.ids import ImageId
from freehold.domain.seams import Zygotes as Mode
from freehold.domain.seams import has_proved_runtime
from freehold.wire.worker import TaskSpec
from freehold.worker.ground import Ground, tidy
from freehold.worker.ports import (
    Bundles,
    Container,
    ContainerExit,
    ContainerProcess,
    ContainerSpec,
    Counters,
    ExecSpec,
    ModuleLists,
    Runtime,
    Snapshotter,
)
from freehold.worker.zygotes.sources import Embryo, Remains, Source, ZygoteMark, has_shell
from freehold.worker.zygotes.templates import Template, key_of
from freehold.worker.zygotes.zygote import Stock, Zygote

log = structlog.get_logger(__name__)

PREFIX = "zy-"
_MOST_REFUSALS = 1000
_MOST_SPOILERS = 5  # packages; an image with more gets a zygote of modal's runtime alone
_LOOK = 0.2  # seconds
_SOON = 5.0  # seconds
# Exit statuses of a task that its own code has not asked for: an exception, or a signal of a program that is broken.
_BROKEN = frozenset(
    {1, *(128 + number for number in (signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV))}
)
_PAUSE = 1.0  # seconds
_RETRY = 300.0  # seconds after which one that could not be made is tried again
_FIRST_START = 3.0  # seconds after which the start that wanted a zygote will have told what it imports


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What zygotes are made with."""

    runtime: Runtime
    snapshots: Snapshotter
    bundles: Bundles
    modules: ModuleLists


class Fork:
    """Implements `Container` for a fork: the container that was made for it, which keeps its zygote's pid namespace from going."""

    def __init__(self, container: Container, zygote: Source | Remains, pool: "ZygotePool", embryo: Embryo | None = None) -> None:
        self.zygote = zygote.mark
        self.is_of_snapshot = isinstance(zygote, Template)
        self._container = container
        self._holder = zygote
        self._is_gone = False
        self._pool = pool
        self.forked_at = pool.now()
        self._embryo = embryo  # until it is a task

    @property
    def pid(self) -> int:
        return self._container.pid

    @property
    def kind(self) -> str:
        """For people."""
        return "forked from its snapshot" if self.is_of_snapshot else "forked"

    def is_best_for(self, task: TaskSpec) -> bool:
        """Whether another one for this task would be forked from where this was."""
        return self._pool.source_of(task) is self._holder

    async def become(self, task: TaskSpec, spec: ContainerSpec) -> str:
        """Be this task. Otherwise the answer is why not, and nothing of it is left."""
        if (embryo := self._embryo) is None:
            return "It is a task already."
        with anyio.CancelScope(shield=True):
            why = await self._pool.why_not_become(self._holder, embryo, task, spec)
            embryo.close()
            self._embryo = None
            if why:
                await self.destroy()
        return why

    async def wait(self) -> ContainerExit:
        ended = await self._container.wait()
        if isinstance(self._holder, Template) and ended.code in _BROKEN and self._pool.now() - self.forked_at < _SOON:
            await self._pool.distrust(self._holder, ended.code or 0)
        return ended

    def usage(self) -> Counters:
        return self._container.usage()

    async def execute(self, spec: ExecSpec) -> ContainerProcess:
        """Its own first process is the waiter, which may do next to nothing; a task keeps the list of its zygote."""
        return await self._container.execute(replace(spec, like=self._holder.id))

    async def signal(self, number: int) -> None:
        await self._container.signal(number)

    async def destroy(self) -> None:
        if self._embryo is not None:
            self._embryo.close()
        await self._container.destroy()
        if not self._is_gone:
            self._is_gone = True
            await self._pool.left(self._holder)


class ZygotePool:
    """`task` is a start that was forked, or None where it has to be a plain one. Works between entering `run` and its end."""

    def __init__(self, machine: Machine, *, mode: Mode, budget_mib: int, clock: Clock) -> None:
        self._machine = machine
        self._mode = mode
        self._budget = budget_mib << 20
        self._clock = clock
        self._zygotes: dict[str, Source] = {}  # by what they are made for
        self._loading: dict[str, Source] = {}
        self._retired: list[Source | Remains] = []  # whose tasks go on
        self._refused: dict[tuple[str, ...], str] = {}  # definitions that a zygote would start as something else
        self._spoilers: dict[ImageId | None, frozenset[str]] = {}  # packages that must not be imported before a fork
        self._given_up: dict[str, tuple[float, str]] = {}  # stocks of which none could be made: when, why
        self._group: TaskGroup | None = None
        self._ground: Ground
        self.on_change: Callable[[], None] = lambda: None  # called when forks come from another zygote than before

    def open(self, group: TaskGroup, ground: Ground) -> None:
        """`ground` is what snapshots are made on: in containers like those of their tasks."""
        self._group, self._ground = group, ground

    async def close(self) -> None:
        """When all tasks have gone."""
        self._group = None
        for zygote in (*self._zygotes.values(), *self._loading.values(), *self._retired):
            if not zygote.tasks:  # one whose tasks nobody waits for any more cannot end: that is for the sweep
                await zygote.end()
        for place in (self._zygotes, self._loading):
            place.clear()
        self._retired.clear()

    def summary(self) -> str:
        """For people."""
        return f"{len(self._zygotes)} ({sum(zygote.size for zygote in self._zygotes.values()) >> 20} MiB)"

    async def hold(self, task: TaskSpec, traces: AsyncExitStack) -> Source | None:
        """What to fork it from, if there is something. It stays there until `traces` are removed."""
        if self._why_never(task):
            return None
        if source := self.source_of(task):
            source.tasks += 1
            traces.push_async_callback(tidy, partial(self.left, source))
        else:
            self.want(task)
        return source

    async def fork(self, zygote: Source | None, task: TaskSpec, spec: ContainerSpec) -> tuple[Fork | None, str]:
        """A container with a fork in it that can become this task or one like it; or why it has to be started plainly."""
        if why := self._why_never(task):
            return None, why
        if not has_shell(spec.rootfs):
            return None, "Its image has no /bin/sh."
        if zygote is None:
            return None, self._given_up.get(Stock.of(task).key, (0, "The process to fork from is being made."))[1]
        if isinstance(zygote, Zygote) and spec.env and (why := self._conflict(zygote, spec)):
            return None, why
        return await self._fork(zygote, task, spec)

    def want(self, task: TaskSpec) -> None:
        """Tasks like this one will be wanted: have something to fork them from."""
        if self._mode is Mode.AUTO and _is_suitable(task) and self._may_be_made(Stock.of(task).key):
            self._make(Stock.of(task))

    def source_of(self, task: TaskSpec) -> Source | None:
        """What it would be forked from: its function's own state, if there is one."""
        own = self._zygotes.get(key_of(task)) if task.snapshot else None
        return own or self._zygotes.get(Stock.of(task).key)

    def why_no_snapshot(self, task: TaskSpec) -> str:
        """Of a task that was not forked from one. Empty if it should not have been."""
        if not task.snapshot:
            return ""
        if why := self._why_never(task):
            return why
        return self._given_up.get(key_of(task), (0, "It is being made."))[1]

    def _may_be_made(self, key: str) -> bool:
        is_there = key in self._zygotes or key in self._loading
        return not is_there and self.now() - self._given_up.get(key, (-_RETRY, ""))[0] >= _RETRY

    def want_snapshot(self, task: TaskSpec) -> None:
        """A task starts: have the state of its function to fork the next ones from, if it wants that."""
        if task.snapshot and self._group is not None and not self._why_never(task) and self._may_be_made(key_of(task)):
            template = Template(f"{PREFIX}{secrets.token_hex(8)}", task, self._ground)
            self._loading[template.key] = template
            self._group.start_soon(self._keep_template, template)

    async def _keep_template(self, template: Template) -> None:
        """Its life. That of the first task of its kind begins at the same time, and needs the machine more."""
        await anyio.sleep(_PAUSE)
        async with anyio.create_task_group() as companions:
            await template.start(companions)
            if not template.why_not and template.size > self._budget:
                template.why_not = f"Its state has {template.size >> 20} MiB, more than FREEHOLD_ZYGOTE_MEMORY_MIB allows."
            if template.why_not:
                log.warning("snapshot_given_up", function_id=template.task.function_id, reason=template.why_not)
                self._give_up(template)
                await self._retire(template)
            else:
                await self._take_over(template)
                await self._retire_earlier(template)
                await self._keep_budget(template)
            await template.is_over.wait()
            companions.cancel_scope.cancel()

    async def _retire_earlier(self, newest: Template) -> None:
        """Those of the same function before it was deployed anew, or before its environment changed."""
        for other in list(self._zygotes.values()):
            if isinstance(other, Template) and other is not newest and other.task.function_id == newest.task.function_id:
                await self._retire(other)

    async def distrust(self, template: Template, code: int) -> None:
        """A task of it has failed so soon that being forked may be why: let the next ones start otherwise."""
        if self._zygotes.get(template.key) is template:
            template.why_not = f"A task that was forked from it has ended with status {code} within {_SOON:g} s."
            log.warning("snapshot_given_up", function_id=template.task.function_id, reason=template.why_not)
            self._give_up(template)
            await self._retire(template)

    def _give_up(self, source: Source) -> None:
        if len(self._given_up) >= _MOST_REFUSALS:
            self._given_up.clear()
        self._given_up[source.key] = (self.now(), source.why_not)

    async def wait_for(self, task: TaskSpec) -> None:
        """Until there is something to fork it from, or will not be. It is made in bounded time."""
        while Stock.of(task).key in self._loading:  # noqa: ASYNC110 — what loads may be made anew, and again
            await anyio.sleep(_LOOK)

    async def _load(self, zygote: Zygote) -> None:
        """Make it, and make it again without what must not be imported before a fork. Later, look whether starts import more."""
        machine, stock = self._machine, zygote.stock
        modules = await self._modules(stock)
        await zygote.start(modules, snapshots=machine.snapshots, bundles=machine.bundles)
        if zygote.why_not:
            log.warning("zygote_given_up", zygote=zygote.id, app_id=stock.app_id, reason=zygote.why_not)
            await self._retire(zygote)
            if zygote.spoiled_by:
                self._leave_out(zygote, {_package(zygote.spoiled_by)})
            else:
                self._give_up(zygote)
            return
        await self._take_over(zygote)
        await self._keep_budget(zygote)
        await anyio.sleep(_FIRST_START)
        await self._renew(zygote)

    def _leave_out(self, zygote: Zygote, packages: set[str]) -> None:
        """Make it again without these, if it is them that it has imported."""
        stock = zygote.stock
        if "" in packages:
            return
        self._spoilers[stock.image_id] = self._spoilers.get(stock.image_id, frozenset()) | packages
        if stock.key not in self._loading:  # a start may have wanted another one meanwhile; that one fails and comes here again
            self._make(stock)

    async def _modules(self, stock: Stock) -> tuple[str, ...]:
        """What starts were seen to import, without the packages that must not be imported before a fork."""
        found = await self._machine.modules.of(stock.image_id or "", stock.app_id or "")
        spoilers = self._spoilers.get(stock.image_id, frozenset())
        return tuple(name for name in found if _package(name) not in spoilers) if len(spoilers) <= _MOST_SPOILERS else ()

    async def _renew(self, zygote: Zygote) -> None:
        """Another one in its place if starts import what it has not; until that is ready, this one does."""
        key = zygote.stock.key
        wanted = await self._modules(zygote.stock)
        if set(wanted) - zygote.modules and self._zygotes.get(key) is zygote and key not in self._loading:
            self._make(zygote.stock)

    def _make(self, stock: Stock) -> None:
        if self._group is not None:
            zygote = Zygote(f"{PREFIX}{secrets.token_hex(8)}", stock, self._machine.runtime)
            self._loading[stock.key] = zygote
            self._group.start_soon(self._load, zygote)

    async def _take_over(self, zygote: Source) -> None:
        """Fork from this one, and no more from that which did so."""
        former = self._zygotes.get(zygote.key)
        zygote.used_at = self.now()
        self._zygotes[zygote.key] = self._loading.pop(zygote.key)
        if former is not None:
            await self._retire(former)
        self.on_change()

    async def left(self, zygote: Source | Remains) -> None:
        """One of its tasks has gone."""
        zygote.tasks -= 1
        if zygote in self._retired and not zygote.tasks:
            self._retired.remove(zygote)
            await zygote.end()

    async def adopt(self, container: Container, mark: ZygoteMark) -> Fork:
        """A task that an earlier engine had forked."""
        remains = next((one for one in self._retired if one.id == mark.id), None)
        if remains is None:
            remains = Remains(mark, self._machine.runtime, self._machine.snapshots)
            self._retired.append(remains)
        remains.tasks += 1
        return Fork(container, remains, self)

    async def _fork(self, zygote: Source, task: TaskSpec, spec: ContainerSpec) -> tuple[Fork | None, str]:
        zygote.used_at = self.now()
        zygote.tasks += 1
        if self._group is not None and isinstance(zygote, Zygote):
            self._group.start_soon(self._renew, zygote)
        try:
            container, embryo = await zygote.fork(spec)
        except (FreeholdError, OSError) as error:
            why = str(error) or type(error).__name__
        else:
            return Fork(container, zygote, self, embryo), ""
        log.warning("fork_given_up", task_id=task.task_id, zygote=zygote.id, reason=why)
        if zygote.why_not and self._zygotes.get(zygote.key) is zygote:
            await self._retire(zygote)
            self.want(task)
        await self.left(zygote)
        return None, why

    async def why_not_become(self, holder: Source | Remains, embryo: Embryo, task: TaskSpec, spec: ContainerSpec) -> str:
        """Empty when it is this task now."""
        if isinstance(holder, Zygote) and (why := self._conflict(holder, spec)):
            return why
        if isinstance(holder, Template) and holder.key != key_of(task):
            return "Its environment is not that of the snapshot."
        try:
            await embryo.become(task, spec)
        except (FreeholdError, OSError) as error:
            why = str(error) or type(error).__name__
            log.warning("fork_given_up", task_id=task.task_id, reason=why)
            self._refuse(task, why)
            return why
        return ""

    def _conflict(self, zygote: Zygote, spec: ContainerSpec) -> str:
        names = zygote.conflicts(spec.env)
        if not names:
            return ""
        self._leave_out(zygote, {_package(zygote.reads.get(name, "")) for name in names})
        return f"Its environment sets what was read while importing: {', '.join(names)}."

    async def _retire(self, zygote: Source) -> None:
        for place in (self._zygotes, self._loading):
            if place.get(zygote.key) is zygote:
                del place[zygote.key]
        zygote.retire()
        if zygote.tasks:
            self._retired.append(zygote)
        else:
            await zygote.end()

    async def _keep_budget(self, newest: Source) -> None:
        while sum(zygote.size for zygote in self._zygotes.values()) > self._budget and len(self._zygotes) > 1:
            idlest = min((one for one in self._zygotes.values() if one is not newest), key=lambda one: one.used_at)
            log.info("zygote_retired", zygote=idlest.id, app_id=idlest.app_id, reason="memory")
            await self._retire(idlest)

    def _why_never(self, task: TaskSpec) -> str:
        if self._mode is Mode.OFF or self._group is None:
            return "Zygotes are switched off."
        if task.gpus:
            return "It has a GPU, which a fork could not open."
        if not _is_suitable(task):
            return "Its image has an entrypoint of its own, or its client is not one that forking is proved for."
        return self._refused.get(_definition(task), "")

    def _refuse(self, task: TaskSpec, why: str) -> None:
        if len(self._refused) >= _MOST_REFUSALS:
            self._refused.clear()
        self._refused[_definition(task)] = why

    def now(self) -> float:
        return self._clock.now().timestamp()


def _is_suitable(task: TaskSpec) -> bool:
    return bool(task.app_id and has_proved_runtime(task.client.seams) and not task.image.entrypoint and not task.gpus)


def _package(module: str) -> str:
    return module.partition(".")[0]


def _definition(task: TaskSpec) -> tuple[str, ...]:
    return (task.app_id or "", *task.layers, *(tree.id for tree in task.trees))
