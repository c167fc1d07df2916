"""What containers use: their workers' readings become sums by function and hour, totals of calls and tasks, and curves of the last minutes.

On disk it is what the last reading said, some seconds ago at most. Containers that go on over a restart are charged for that time too: their
counters go on with them, and the totals on disk say up to where they were counted.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from freehold.control.services.counters import Counters
from freehold.control.services.tasks import LiveTask, Tasks
from freehold.control.wakeups import Wakeup
from freehold.domain.clock import Clock
from freehold.domain.errors import FreeholdError
from freehold.domain.gpus import Gpu
from freehold.domain.ids import FunctionId, TaskId, is_id
from freehold.domain.usage import (
    NOTHING,
    FunctionUsage,
    Point,
    Reading,
    Shares,
    Usage,
    between,
    divided,
    hour_of,
    point,
    span,
    summed,
)
from freehold.store.ports import Store
from freehold.wire.worker import TaskSample

log = structlog.get_logger()

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_POINTS = 180  # of one container: a quarter of an hour
_CURVES = 256  # containers, those that ended lately among them
_CALLS = 10_000  # whose parts are in memory; of synchronous ones they are nowhere else
_WAITING = 50_000  # totals on their way to disk


class UsageBook:
    def __init__(self, *, store: Store, tasks: Tasks, clock: Clock, gpus: Sequence[Gpu], counters: Counters | None = None) -> None:
        self._store = store
        self._counters = counters
        self._tasks = tasks
        self._clock = clock
        self._gpu_names = {gpu.index: gpu.name for gpu in gpus}
        self._last: dict[TaskId, Reading] = {}  # of tasks that live
        self._curves: OrderedDict[TaskId, deque[Point]] = OrderedDict()
        self._calls: OrderedDict[str, Usage] = OrderedDict()
        self._hours: dict[tuple[datetime, FunctionId], FunctionUsage] = {}  # on their way to disk, as are these
        self._totals: dict[str, Usage] = {}
        self._read_at = clock.now()  # the last reading in these
        self.changed = Wakeup()

    async def restore(self) -> None:
        """Where an earlier engine has stopped to count the tasks that go on."""
        async with self._store.transaction() as tx:
            totals = await tx.usages.totals([live.id for live in self._tasks.all()])
        for task_id, total in totals.items():
            self._last[TaskId(task_id)] = Reading(at=total.at, cpu_us=round(total.usage.cpu_core_seconds * 1e6))

    # What workers report.

    def record(self, samples: Sequence[TaskSample]) -> None:
        for sample in samples:
            if (live := self._tasks.find(sample.task_id)) is not None:
                self._record(live, sample.reading)
        for task_id in self._last.keys() - {live.id for live in self._tasks.all()}:
            del self._last[task_id]
        self.changed.notify()

    def _record(self, live: LiveTask, now: Reading) -> None:
        before = self._last.get(live.id) or Reading(at=live.task.started_at or now.at)
        self._last[live.id], self._read_at = now, now.at
        gpus = [self._gpu_names.get(index, "GPU") for index in live.task.gpus]
        shares = self._shares(live)
        used = between(before, now, gpus) + Usage(inputs=shares.finished)
        parts = divided(used, shares, seconds=span(before, now), starting=_starting(live, before, now))
        drawn = point(before, now, len(gpus))
        self._draw(live.id, drawn)
        if self._counters is not None:
            self._counters.used(live.task.function_id, live.task.app_id, span(before, now), used, drawn)
        self._charge_function(live, now.at, used)
        self._charge(live.id, used)
        for call_id, part in parts.items():
            self._charge_call(call_id, part)
            if call_id in shares.kept:
                self._charge(call_id, part)

    def _shares(self, live: LiveTask) -> Shares:
        since = live.meter.look(self._clock.monotonic())
        for item in live.running.values():
            live.meter.charge(item.call.id, item.metered_since, is_kept=item.call.is_durable)
            item.metered_since = since
        return live.meter.take()

    def _charge_function(self, live: LiveTask, at: datetime, used: Usage) -> None:
        self._add_hour(FunctionUsage(begins_at=hour_of(at), app_id=live.task.app_id, function_id=live.task.function_id, usage=used))

    def _add_hour(self, row: FunctionUsage) -> None:
        key = row.begins_at, row.function_id
        found = self._hours.get(key)
        self._hours[key] = replace(row, usage=found.usage + row.usage) if found else row

    def _charge(self, subject: str, used: Usage) -> None:
        if subject in self._totals or len(self._totals) < _WAITING:
            self._totals[subject] = self._totals.get(subject, NOTHING) + used

    def _charge_call(self, call_id: str, part: Usage) -> None:
        self._calls[call_id] = self._calls.pop(call_id, NOTHING) + part
        if len(self._calls) > _CALLS:
            self._calls.popitem(last=False)

    def _draw(self, task_id: TaskId, fresh: Point) -> None:
        curve = self._curves.pop(task_id, None) or deque(maxlen=_POINTS)
        self._curves[task_id] = curve
        curve.append(fresh)
        if len(self._curves) > _CURVES:
            self._curves.popitem(last=False)

    # To the disk.

    async def step(self) -> None:
        """As `flush`, for when nobody is there to be told that it does not work now."""
        try:
            await self.flush()
        except FreeholdError as error:
            log.warning("usage_delayed", why=str(error))

    async def flush(self) -> None:
        """Write what waits. If that fails, it waits on."""
        if not self._hours:
            return
        hours, self._hours = self._hours, {}
        totals, self._totals = self._totals, {}
        try:
            async with self._store.transaction() as tx:
                await tx.usages.add(list(hours.values()), totals, self._read_at)
        except BaseException:
            for row in hours.values():
                self._add_hour(row)
            for subject, used in totals.items():
                self._charge(subject, used)
            raise

    # What people ask.

    async def of(self, subject: str, since: datetime | None = None) -> Usage:
        """What an app, a function (with all its variants), a call or a task has used, by id: up to the last reading, which is some seconds
        old. `since` counts for apps and functions, by whole hours. Of what is not known it is nothing.
        """
        if is_id(subject, "ap") or is_id(subject, "fu"):
            return summed(await self.rows_of(subject, hour_of(since) if since else BEGINNING))
        return await self._total(subject)

    async def rows_of(self, subject: str, since: datetime, *, step: timedelta | None = None) -> Sequence[FunctionUsage]:
        """Of an app, or of a function with all its variants; as `rows`."""
        if is_id(subject, "ap"):
            return await self.rows(since, step=step, app_id=subject)
        return await self.rows(since, step=step, function_ids=await self._variants(FunctionId(subject)))

    async def of_calls(self, call_ids: Sequence[str]) -> dict[str, Usage]:
        """Those of which something is known."""
        await self.flush()
        async with self._store.transaction() as tx:
            totals = await tx.usages.totals(call_ids)
        kept = {call_id: total.usage for call_id, total in totals.items()}
        return kept | {call_id: self._calls[call_id] for call_id in call_ids if call_id in self._calls and call_id not in kept}

    async def rows(
        self,
        since: datetime = BEGINNING,
        until: datetime | None = None,
        *,
        step: timedelta | None = None,
        app_id: str = "",
        function_ids: Sequence[FunctionId] | None = None,
    ) -> Sequence[FunctionUsage]:
        """See `store.ports.Usages.sums`; up to the last reading."""
        await self.flush()
        end = until or self._clock.now() + timedelta(hours=1)
        async with self._store.transaction() as tx:
            return await tx.usages.sums(since, end, step=step, app_id=app_id, function_ids=function_ids)

    def samples(self, task_id: str) -> Sequence[Point]:
        """The curves of a container: the last quarter of an hour, a point every few seconds, oldest first. Empty when it ended long ago."""
        return list(self._curves.get(TaskId(task_id), ()))

    async def _total(self, subject: str) -> Usage:
        return (await self.of_calls([subject])).get(subject, NOTHING)

    async def _variants(self, function_id: FunctionId) -> list[FunctionId]:
        async with self._store.transaction() as tx:
            return [function_id, *(bound.id for bound in await tx.functions.bound_to(function_id))]


def _starting(live: LiveTask, before: Reading, now: Reading) -> float:
    """Seconds between the readings in which it was not ready."""
    ready_at = live.task.ready_at
    ends = now if ready_at is None else Reading(at=min(ready_at, now.at))
    return span(before, ends)
