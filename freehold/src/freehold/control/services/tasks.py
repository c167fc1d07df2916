"""Tasks that are alive: who they are, what they run, and what is recorded when they start, become ready, drain and end."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Protocol

import structlog

from freehold.control.services.journal import Journal
from freehold.control.services.live import LiveInput
from freehold.control.wakeups import Wakeup
from freehold.domain import retries
from freehold.domain.clock import Clock
from freehold.domain.errors import NotFound
from freehold.domain.functions import Function
from freehold.domain.ids import AppId, DefinitionId, FunctionId, InputId, TaskId, new_task_id
from freehold.domain.placement import Amounts
from freehold.domain.seams import Transport
from freehold.domain.tasks import ExitKind, Task, TaskExit, TaskState, move
from freehold.domain.usage import Meter
from freehold.wire.execs import ExecEnd

log = structlog.get_logger()

_ONE_TASK = Amounts()  # nothing but itself
_IN_ORDER = {ExitKind.FINISHED, ExitKind.STOPPED}
_AUTHORS = 2000  # output comes some milliseconds after its input has ended, at most seconds; containers run up to 1000 inputs at once


@dataclass(frozen=True, slots=True)
class Author:
    """Whose output it is that a container prints under the id of one input. Of a batch: all its inputs', so the call's at most."""

    input_id: str
    call_id: str


@dataclass(slots=True, eq=False)
class LiveTask:
    """A task and what only matters while it lives. Times are monotonic seconds."""

    task: Task
    token: str = field(repr=False)
    running: dict[InputId, LiveInput] = field(default_factory=dict)
    undelivered: dict[InputId, int] = field(default_factory=dict)  # of those running: attempts that it may not have received
    last_request_key: str = ""  # of its last request for inputs,
    last_delivery: dict[InputId, int] = field(default_factory=dict)  # and the attempts that this was answered with
    authors: dict[InputId, Author] = field(default_factory=dict)  # of the inputs that it was given lately
    is_shared: bool = False  # what it was given last runs beside others
    meter: Meter = field(default_factory=Meter)  # who has which part of its time
    cancellations: Wakeup = field(default_factory=Wakeup)
    wanted_at: float = 0.0
    since: float = 0.0  # it is in its present state
    idle_since: float = 0.0
    remark: str = ""  # for the log of its app, at its start
    is_build: bool = False  # belongs to an image build, which starts and ends it
    is_restricted: bool = False  # by its function's `restrict_modal_access`: it may do its own work and nothing else
    booked: Amounts = _ONE_TASK  # on its machine
    machine_id: str = "local"
    is_stuck: bool = False  # an input of it timed out, and may still run: it ends when its other inputs have
    transport: Transport = Transport.STOCK  # how it last asked for inputs
    serves_http: bool = False  # web requests go to it directly, as requests and not as inputs
    requests: int = 0  # of those: under way
    web_fallback: str = ""  # why it takes web requests as inputs, where it could serve them itself
    address: str = ""  # in its network; empty without a way to it
    leaving: Wakeup = field(default_factory=Wakeup)  # it drains, or a request of one that drains has ended
    is_single_use: bool = False  # leaves after the inputs that it is given first
    is_stopping: bool = False  # no longer desired: its worker ends it
    is_mute: bool = False  # it cannot hear that it should leave, so it gets no grace
    heard: float | None = None  # when it last showed that it lives; None before the first time
    is_silent: bool = False  # an earlier engine's, and has not asked for inputs since: it may be at work on one that nobody knows
    first_input_at: float | None = None
    reports: int = 0  # of its start, and of what it imported after it
    has_answered: bool = False  # its first output is recorded
    failure: bytes = b""  # a serialized GenericResult: why it did not become ready, in the words of its own code or of its timeout

    @property
    def id(self) -> TaskId:
        return self.task.id

    @property
    def load(self) -> int:
        """Inputs and web requests under way."""
        return len(self.running) + self.requests

    @property
    def is_idle(self) -> bool:
        return self.state is TaskState.READY and not self.load and not self.is_silent

    def remember(self, items: Sequence[LiveInput]) -> None:
        """What it is given at once. The container names the first when it says who printed something, perhaps after the result."""
        if not items:
            return
        self.is_shared = len(self.running) > len(items)
        calls = {item.call.id for item in items}
        self.authors[items[0].id] = Author(items[0].id if len(items) == 1 else "", calls.pop() if len(calls) == 1 else "")
        if len(self.authors) > _AUTHORS:
            del self.authors[next(iter(self.authors))]

    def cancelled_inputs(self) -> list[InputId]:
        return [live.id for live in self.running.values() if live.is_cancelled]

    @property
    def state(self) -> TaskState:
        return self.task.state


@dataclass(slots=True)
class _StartHealth:
    failures: int = 0  # in a row: of those that were wanted together, one
    failed_at: float = 0.0  # the last that counted
    not_before: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPause:
    """Back-off of a function: so many failed starts in a row, so many seconds until the next."""

    failures: int
    seconds: float


class TaskEnds(Protocol):
    """What must happen to inputs when a task ends."""

    async def task_ended(self, live: LiveTask, end: TaskExit) -> None: ...

    async def starts_failed(self, function_id: FunctionId, text: str, failure: bytes) -> None: ...


class TaskCounters(Protocol):
    """Counts the beginnings and ends of containers."""

    def container_ready(self, function_id: FunctionId, app_id: AppId, seconds: float) -> None:
        """So long after it was wanted."""
        ...

    def container_ended(self, function_id: FunctionId, app_id: AppId, *, is_broken: bool) -> None: ...


class Tasks:
    def __init__(self, *, clock: Clock, journal: Journal, changed: Wakeup, counters: TaskCounters | None = None) -> None:
        self._clock = clock
        self._journal = journal
        self._changed = changed  # controllers wait for it
        self._counters = counters
        self._alive: dict[TaskId, LiveTask] = {}
        self._by_function: dict[FunctionId, dict[TaskId, LiveTask]] = {}
        self._health: dict[FunctionId, _StartHealth] = {}
        self._ends: TaskEnds | None = None

    def report_ends_to(self, ends: TaskEnds) -> None:
        self._ends = ends

    def create(
        self,
        function: Function,
        definition_id: DefinitionId,
        reason: str,
        *,
        is_build: bool = False,
        is_restricted: bool = False,
        booked: Amounts = _ONE_TASK,
        machine_id: str = "local",
        gpus: tuple[int, ...] = (),
        remark: str = "",
        is_single_use: bool = False,
    ) -> LiveTask:
        token, since = secrets.token_urlsafe(32), self._clock.monotonic()
        task = Task(
            id=new_task_id(),
            app_id=function.app_id,
            function_id=function.id,
            definition_id=definition_id,
            state=TaskState.PENDING,
            enqueued_at=self._clock.now(),
            token_hash=_hash(token),
            gpus=gpus,
        )
        live = LiveTask(
            task,
            token=token,
            since=since,
            wanted_at=since,
            is_build=is_build,
            is_restricted=is_restricted,
            is_single_use=is_single_use,
            booked=booked,
            machine_id=machine_id,
            remark=remark,
        )
        self._journal.task(task)
        self._journal.event(task.id, "task_wanted", cause=reason, fields={"function_id": function.id})
        self._keep(live)
        return live

    def adopt(self, task: Task, *, is_restricted: bool, is_single_use: bool = False, booked: Amounts = _ONE_TASK) -> LiveTask:
        """A task of an earlier engine whose container goes on. It proves itself with the token that it has from there."""
        now = self._clock.monotonic()
        live = LiveTask(
            task,
            token="",
            since=now,
            idle_since=now,
            is_restricted=is_restricted,
            is_single_use=is_single_use,
            booked=booked,
            is_silent=True,
            has_answered=True,  # if at all, then its earlier engine
            heard=now if task.ready_at else None,
        )
        self._journal.event(task.id, "task_adopted")
        self._keep(live)
        return live

    def find(self, task_id: TaskId) -> LiveTask | None:
        return self._alive.get(task_id)

    def get(self, task_id: TaskId) -> LiveTask:
        live = self._alive.get(task_id)
        if live is None:
            msg = f"No running container {task_id}. `modal container list` shows those that run."
            raise NotFound(msg)
        return live

    def all(self) -> Iterable[LiveTask]:
        return list(self._alive.values())

    def of_function(self, function_id: FunctionId) -> Mapping[TaskId, LiveTask]:
        return self._by_function.get(function_id, {})

    def functions_with_tasks(self) -> list[FunctionId]:
        return list(self._by_function)

    def accepts_task(self, task_id: TaskId, token: str) -> bool:
        live = self._alive.get(task_id)
        return live is not None and hmac.compare_digest(live.task.token_hash, _hash(token))

    def is_restricted(self, task_id: TaskId) -> bool:
        live = self._alive.get(task_id)
        return live is not None and live.is_restricted

    def may_start(self, function_id: FunctionId) -> bool:
        """False while the function pauses after starts that failed."""
        health = self._health.get(function_id)
        return health is None or self._clock.monotonic() >= health.not_before

    def pause_of(self, function_id: FunctionId) -> StartPause | None:
        """How long the function still pauses after starts that failed; None if it does not."""
        health = self._health.get(function_id)
        left = health.not_before - self._clock.monotonic() if health else 0.0
        return StartPause(failures=health.failures, seconds=left) if health and left > 0 else None

    def pause_after(self, live: LiveTask, end: TaskExit) -> timedelta:
        """How long its function will wait for the next start when this task ends so."""
        health = self._health.get(live.task.function_id, _StartHealth())
        return retries.pause_after(health.failures + 1) if _has_failed_to_start(live, end) else timedelta(0)

    def forgive(self, function_id: FunctionId) -> None:
        """A new definition gets a fresh start."""
        self._health.pop(function_id, None)

    def record_started(self, task_id: TaskId, address: str = "", start: str = "", no_snapshot: str = "") -> None:
        live = self._alive.get(task_id)
        if live is None:
            return
        live.address = address
        if live.state is TaskState.PENDING:
            told = {"start": start, "no_snapshot": no_snapshot}
            self._advance(live, TaskState.STARTING, fields={name: value for name, value in told.items() if value})

    def record_fallback(self, live: LiveTask, reason: str) -> None:
        """It takes web requests as inputs, where others of its client's version serve them."""
        live.web_fallback = reason
        self._journal.event(live.id, "web_fallback", cause=reason)
        log.info("web_fallback", task_id=live.id, function_id=live.task.function_id, reason=reason)

    def record_ready(self, live: LiveTask, transport: Transport = Transport.STOCK, *, serves_http: bool = False) -> None:
        """It asks for inputs, or serves web requests: perhaps for the first time, or for the first time this engine."""
        live.transport, live.serves_http = transport, serves_http
        if live.is_silent:
            live.is_silent = False
            live.idle_since = self._clock.monotonic()
        if live.state is TaskState.PENDING:  # the container was quicker than its worker's report
            self._advance(live, TaskState.STARTING)
        if live.state is TaskState.STARTING:
            self._advance(live, TaskState.READY, fields={"transport": "http" if serves_http else transport})
            live.idle_since = self._clock.monotonic()
            self._health.pop(live.task.function_id, None)
            if self._counters is not None and not live.is_build:
                self._counters.container_ready(live.task.function_id, live.task.app_id, live.idle_since - live.wanted_at)

    def record_exec_ended(self, task_id: TaskId, exec_id: str, end: ExecEnd) -> None:
        """Of a command that somebody ran in its container (`services/execs`)."""
        self._journal.event(task_id, "exec_ended", cause=end.reason, fields={"exec_id": exec_id, "code": str(end.code)})

    def note_input(self, live: LiveTask) -> None:
        """It was given an input: perhaps its first."""
        if live.first_input_at is None:
            live.first_input_at = self._clock.monotonic()

    def note_output(self, live: LiveTask) -> None:
        """It has given an output: with its first, its start is over."""
        if live.has_answered:
            return
        live.has_answered = True
        taken_at = live.first_input_at or self._clock.monotonic()
        self._journal.event(live.id, "task_answered", fields={"input": f"{taken_at - live.wanted_at:.4f}"})

    def drain(self, live: LiveTask, reason: str) -> None:
        """No new inputs; it ends by itself when its own are done. One that is not ready yet has none: it is stopped."""
        match live.state:
            case TaskState.READY:
                self._advance(live, TaskState.DRAINING, cause=reason)
            case TaskState.PENDING | TaskState.STARTING:
                self.stop(live, reason)

    def stop(self, live: LiveTask, reason: str) -> None:
        """Its worker ends it: a signal, a grace period, the end."""
        if not live.is_stopping:
            live.is_stopping = True
            self._journal.event(live.id, "task_stop_wanted", cause=reason)
            self._changed.notify()

    def end_mute(self, live: LiveTask, reason: str) -> None:
        """Its process is there and says nothing any more: its worker kills it."""
        live.is_mute = True
        self.stop(live, reason)

    def hear(self, live: LiveTask) -> None:
        live.heard = self._clock.monotonic()

    def stop_holders(self, inputs: Iterable[LiveInput], reason: str) -> None:
        """End the tasks that run these inputs."""
        for task_id in {live.task_id for live in inputs}:
            if task_id and (live := self._alive.get(task_id)) is not None:
                self.stop(live, reason)

    async def record_exit(self, task_id: TaskId, end: TaskExit) -> None:
        """The end of a task: its inputs get their fate, its function perhaps a pause."""
        live = self._alive.pop(task_id, None)
        if live is None:
            return
        tasks = self._by_function[live.task.function_id]
        del tasks[task_id]
        if not tasks:
            del self._by_function[live.task.function_id]
        has_failed_to_start = _has_failed_to_start(live, end)
        self._advance(live, TaskState.ENDED, cause=end.kind, end=end)
        if self._counters is not None and not live.is_build:
            is_broken = has_failed_to_start or end.kind not in _IN_ORDER
            self._counters.container_ended(live.task.function_id, live.task.app_id, is_broken=is_broken)
        assert self._ends is not None
        await self._ends.task_ended(live, end)
        if has_failed_to_start:
            await self._record_failed_start(live, end)
        self._changed.notify()

    async def _record_failed_start(self, live: LiveTask, end: TaskExit) -> None:
        function_id = live.task.function_id
        health = self._health.setdefault(function_id, _StartHealth())
        if not health.failures or live.wanted_at > health.failed_at:
            health.failures, health.failed_at = health.failures + 1, self._clock.monotonic()
        pause = retries.pause_after(health.failures)
        health.not_before = self._clock.monotonic() + pause.total_seconds()
        log.warning("start_failed", task_id=live.id, function_id=function_id, kind=end.kind, code=end.code, failures=health.failures)
        if self._has_ready(function_id):
            return  # its inputs have a task to go to, if only one of the version before
        if self._ends is not None and (live.failure or retries.is_hopeless(end, health.failures)):
            await self._ends.starts_failed(function_id, retries.start_failure(end), live.failure)

    def _has_ready(self, function_id: FunctionId) -> bool:
        return any(live.state is TaskState.READY and not live.is_stopping for live in self.of_function(function_id).values())

    def _keep(self, live: LiveTask) -> None:
        self._alive[live.id] = live
        self._by_function.setdefault(live.task.function_id, {})[live.id] = live
        self._changed.notify()

    def _advance(
        self, live: LiveTask, state: TaskState, *, cause: str = "", end: TaskExit | None = None, fields: Mapping[str, str] | None = None
    ) -> None:
        live.task = move(live.task, state, self._clock.now())
        if end is not None:
            live.task = replace(live.task, exit=end)
        live.since = self._clock.monotonic()
        self._journal.task(live.task)
        if end is not None:
            fields = {"code": str(end.code), "detail": end.detail[-2000:]}
        self._journal.event(live.id, f"task_{state}", cause=cause, fields=fields)
        self._changed.notify()


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _has_failed_to_start(live: LiveTask, end: TaskExit) -> bool:
    was_asked = end.kind is ExitKind.STOPPED or live.is_stopping
    return live.task.ready_at is None and (bool(live.failure) or not was_asked)
