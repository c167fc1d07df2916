"""Which zygotes there are: one for each app, image and client that wants tasks, within a budget of memory. Whoever has none starts plainly."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import structlog
from anyio.abc import TaskGroup

from freehold.domain.clock import Clock
from freehold.domain.errors import FreeholdError
from freehold.domain.ids import ImageId
from freehold.domain.seams import Zygotes as Mode
from freehold.wire.worker import TaskSpec
from freehold.worker.ports import Bundles, Container, ContainerExit, ContainerSpec, ModuleLists, Runtime, Snapshotter
from freehold.worker.zygotes.zygote import Embryo, Remains, Stock, Zygote, ZygoteMark, has_shell

log = structlog.get_logger(__name__)

PREFIX = "zy-"
_MOST_REFUSALS = 1000
_MOST_SPOILERS = 5  # packages; an image with more gets a zygote of modal's runtime alone
_LOOK = 0.2  # seconds
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

    def __init__(self, container: Container, zygote: Zygote | Remains, pool: "ZygotePool", embryo: Embryo | None = None) -> None:
        self.zygote = zygote.mark
        self._container = container
        self._holder = zygote
        self._is_gone = False
        self._pool = pool
        self._embryo = embryo  # until it is a task

    @property
    def pid(self) -> int:
        return self._container.pid

    @property
    def is_current(self) -> bool:
        """Whether another of these would be forked from the same zygote."""
        return self._pool.forks_from(self._holder)

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
        return await self._container.wait()

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
        self._zygotes: dict[str, Zygote] = {}  # by what they are made for
        self._loading: dict[str, Zygote] = {}
        self._retired: list[Zygote | Remains] = []  # whose tasks go on
        self._refused: dict[tuple[str, ...], str] = {}  # definitions that a zygote would start as something else
        self._spoilers: dict[ImageId | None, frozenset[str]] = {}  # packages that must not be imported before a fork
        self._given_up: dict[str, tuple[float, str]] = {}  # stocks of which none could be made: when, why
        self._group: TaskGroup | None = None
        self.on_change: Callable[[], None] = lambda: None  # called when forks come from another zygote than before

    def open(self, group: TaskGroup) -> None:
        self._group = group

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

    async def fork(self, task: TaskSpec, spec: ContainerSpec) -> tuple[Fork | None, str]:
        """A container with a fork in it that can become this task or one like it; or why it has to be started plainly."""
        if why := self._why_never(task, spec):
            return None, why
        zygote = self._zygotes.get(Stock.of(task).key)
        if zygote is None:
            self.want(task)
            return None, self._given_up.get(Stock.of(task).key, (0, "The process to fork from is being made."))[1]
        if spec.env and (why := self._conflict(zygote, spec)):
            return None, why
        return await self._fork(zygote, task, spec)

    def want(self, task: TaskSpec) -> None:
        """Tasks like this one will be wanted: have something to fork them from."""
        key = Stock.of(task).key
        is_there = key in self._zygotes or key in self._loading
        may_be_tried = self._now() - self._given_up.get(key, (-_RETRY, ""))[0] >= _RETRY
        if self._mode is Mode.AUTO and _is_suitable(task) and not is_there and may_be_tried:
            self._make(Stock.of(task))

    async def wait_for(self, task: TaskSpec) -> None:
        """Until there is something to fork it from, or will not be. It is made in bounded time."""
        while Stock.of(task).key in self._loading:  # noqa: ASYNC110 — what loads may be made anew, and again
            await anyio.sleep(_LOOK)

    async def _load(self, zygote: Zygote) -> None:
        """Make it, and make it again without what must not be imported before a fork. Later, look whether starts import more."""
        machine, stock = self._machine, zygote.stock
        modules = await self._modules(stock)
        await zygote.start(modules, runtime=machine.runtime, snapshots=machine.snapshots, bundles=machine.bundles)
        if zygote.why_not:
            log.warning("zygote_given_up", zygote=zygote.id, app_id=stock.app_id, reason=zygote.why_not)
            await self._retire(zygote)
            if zygote.spoiled_by:
                self._leave_out(zygote, {_package(zygote.spoiled_by)})
            else:
                self._given_up[stock.key] = (self._now(), zygote.why_not)
            return
        await self._take_over(zygote)
        await self._keep_budget(zygote)
        await anyio.sleep(_FIRST_START)
        await self._renew(zygote)

    def _leave_out(self, zygote: Zygote, packages: set[str]) -> None:
        """Make it again without these, if it is them that it has imported."""
        stock = zygote.stock
        if "" not in packages and stock.key not in self._loading:
            self._spoilers[stock.image_id] = self._spoilers.get(stock.image_id, frozenset()) | packages
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
            zygote = self._loading[stock.key] = Zygote(f"{PREFIX}{secrets.token_hex(8)}", stock)
            self._group.start_soon(self._load, zygote)

    async def _take_over(self, zygote: Zygote) -> None:
        """Fork from this one, and no more from that which did so."""
        former = self._zygotes.get(zygote.stock.key)
        zygote.used_at = self._now()
        self._zygotes[zygote.stock.key] = self._loading.pop(zygote.stock.key)
        if former is not None:
            await self._retire(former)
        self.on_change()

    async def left(self, zygote: Zygote | Remains) -> None:
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

    async def _fork(self, zygote: Zygote, task: TaskSpec, spec: ContainerSpec) -> tuple[Fork | None, str]:
        zygote.used_at = self._now()
        zygote.tasks += 1
        if self._group is not None:
            self._group.start_soon(self._renew, zygote)
        try:
            container, embryo = await zygote.fork(spec)
        except (FreeholdError, OSError) as error:
            why = str(error) or type(error).__name__
        else:
            return Fork(container, zygote, self, embryo), ""
        log.warning("fork_given_up", task_id=task.task_id, zygote=zygote.id, reason=why)
        if zygote.why_not and self._zygotes.get(zygote.stock.key) is zygote:
            await self._retire(zygote)
            self.want(task)
        await self.left(zygote)
        return None, why

    async def why_not_become(self, holder: Zygote | Remains, embryo: Embryo, task: TaskSpec, spec: ContainerSpec) -> str:
        """Empty when it is this task now."""
        if isinstance(holder, Zygote) and (why := self._conflict(holder, spec)):
            return why
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

    def forks_from(self, holder: Zygote | Remains) -> bool:
        return any(zygote is holder for zygote in self._zygotes.values())

    async def _retire(self, zygote: Zygote) -> None:
        for place in (self._zygotes, self._loading):
            if place.get(zygote.stock.key) is zygote:
                del place[zygote.stock.key]
        zygote.retire()
        if zygote.tasks:
            self._retired.append(zygote)
        else:
            await zygote.end()

    async def _keep_budget(self, newest: Zygote) -> None:
        while sum(zygote.size for zygote in self._zygotes.values()) > self._budget and len(self._zygotes) > 1:
            idlest = min((one for one in self._zygotes.values() if one is not newest), key=lambda one: one.used_at)
            log.info("zygote_retired", zygote=idlest.id, app_id=idlest.stock.app_id, reason="memory")
            await self._retire(idlest)

    def _why_never(self, task: TaskSpec, spec: ContainerSpec) -> str:
        if self._mode is Mode.OFF or self._group is None:
            return "Zygotes are switched off."
        if not _is_suitable(task):
            return "Its image has an entrypoint of its own, or its client is not one that forking is proved for."
        if not has_shell(spec.rootfs):
            return "Its image has no /bin/sh."
        return self._refused.get(_definition(task), "")

    def _refuse(self, task: TaskSpec, why: str) -> None:
        if len(self._refused) >= _MOST_REFUSALS:
            self._refused.clear()
        self._refused[_definition(task)] = why

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _is_suitable(task: TaskSpec) -> bool:
    return bool(task.app_id and task.client.seams and not task.image.entrypoint)


def _package(module: str) -> str:
    return module.partition(".")[0]


def _definition(task: TaskSpec) -> tuple[str, ...]:
    return (task.app_id or "", *task.layers, *(tree.id for tree in task.trees))
