"""The figures of functions over time: what was counted becomes buckets in the store, and is read from there and from what goes on now.

series = await metrics.series([function_id], since=now - timedelta(hours=1))
for point in series.points:
    point.start, point.figures.calls / series.width, point.figures.latency.percentile(95)

summary = await metrics.summary(function_ids, since=now - timedelta(hours=1))
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from freehold.control.services.activity import Activity, Now
from freehold.control.services.counters import Counters
from freehold.domain import rollups
from freehold.domain.clock import Clock
from freehold.domain.environments import DEFAULT_ENVIRONMENT
from freehold.domain.errors import FreeholdError, NotFound
from freehold.domain.figures import NOTHING, Figures, together
from freehold.domain.ids import AppId, FunctionId
from freehold.domain.rollups import Bucket, Point
from freehold.store.ports import Store

log = structlog.get_logger()

Labels = tuple[str, str]  # the name of the app and of the function

_INSTANT = timedelta(microseconds=1)  # a window up to now has what happens in this moment
_MOST_LABELS = 1000  # all further functions are counted together
_OTHER: Labels = ("other", "other")
_MOST_UNWRITTEN = 50_000  # buckets that wait for the store
_KNOWN_LABELS = 10_000  # functions whose names are remembered


@dataclass(frozen=True, slots=True)
class Series:
    """Points of `width` seconds each, the oldest first, without gaps; the last one is not over yet if it reaches up to now."""

    width: int
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures from `since` until `until`, which are where buckets begin and end, and those of each function."""

    since: datetime
    until: datetime
    figures: Figures
    functions: Mapping[FunctionId, Figures]


class Metrics:
    def __init__(
        self,
        *,
        store: Store,
        counters: Counters,
        activity: Activity,
        clock: Clock,
        kept: timedelta,
    ) -> None:
        """`kept`: how long the widest buckets stay."""
        self._store = store
        self._counters = counters
        self._activity = activity
        self._clock = clock
        self._resolutions = rollups.resolutions(kept)
        self._narrowest = self._resolutions[0].width
        self._window = rollups.floor(clock.now(), self._narrowest)  # what is counted now belongs to it
        self._current: dict[tuple[FunctionId, int], Bucket] = {}  # that are not over, or not written
        self._unwritten: dict[tuple[FunctionId, int, datetime], Bucket] = {}
        self._totals: dict[Labels, Figures] = {}  # since the engine began
        self._labels: dict[FunctionId, Labels] = {}

    # What is read.

    async def series(
        self, function_ids: Collection[FunctionId], *, since: datetime, until: datetime | None = None, width: int | None = None
    ) -> Series:
        """Of these functions together. Without a `width` (seconds) there are some sixty points or more. Narrower ones than are kept of that
        time come as wide as they are kept.
        """
        now = self._clock.now()
        until = now + _INSTANT if until is None or until == now else until
        width = width or rollups.width_for(self._resolutions, since=since, until=until, now=now)
        source = rollups.source_for(self._resolutions, since=since, now=now, width=width).width
        width = max(width, source)
        buckets = await self._buckets(function_ids, source, rollups.floor(since, width), until)
        return Series(width, rollups.line(buckets, since=since, until=until, width=width))

    async def summary(self, function_ids: Collection[FunctionId] | None, *, since: datetime, until: datetime | None = None) -> Summary:
        """Of these functions, or of all (None) that did something."""
        now = self._clock.now()
        until = now + _INSTANT if until is None or until == now else until
        width = rollups.width_for(self._resolutions, since=since, until=until, now=now)
        since = rollups.floor(since, width)
        found = rollups.totals(await self._buckets(function_ids, width, since, until))
        figures = {function_id: self._up_to_now(function_id, found[function_id], until, now) for function_id in found}
        return Summary(since=since, until=until, figures=together(figures.values()), functions=figures)

    async def of_apps(self, *, since: datetime, width: int) -> Mapping[AppId, Series]:
        """Of each app that did something since then: its functions together."""
        now = self._clock.now()
        source = rollups.source_for(self._resolutions, since=since, now=now, width=width).width
        width = max(width, source)
        by_app: dict[AppId, list[Bucket]] = {}
        for bucket in await self._buckets(None, source, rollups.floor(since, width), now + _INSTANT):
            by_app.setdefault(bucket.app_id, []).append(bucket)
        return {
            app_id: Series(width, rollups.line(buckets, since=since, until=now + _INSTANT, width=width))
            for app_id, buckets in by_app.items()
        }

    async def exposition(self) -> Mapping[Labels, tuple[Figures, Now]]:
        """By names: the figures since the engine began, and now. Functions beyond the first thousand are together under `other`."""
        await self._learn_names()
        found = {labels: (figures, Now()) for labels, figures in self._totals.items()}
        for function_id, _, figures in self._counters.peek():
            if (labels := self._labels.get(function_id)) is not None:
                found[labels] = found[labels][0].then(figures), found[labels][1]
        for function_id in self._activity.busy():
            if (labels := self._labels.get(function_id)) is not None:
                found[labels] = found[labels][0], found[labels][1].beside(self._activity.of(function_id))
        return found

    async def names(self, function_ids: Collection[FunctionId]) -> Mapping[FunctionId, Labels]:
        """Of app and function; several functions may have the same."""
        return {function_id: self._labels.get(function_id) or await self._name(function_id) for function_id in function_ids}

    def narrowest(self, since: datetime) -> int:
        """How wide (seconds) the buckets are at least that reach back to this time."""
        return rollups.source_for(self._resolutions, since=since, now=self._clock.now(), width=1).width

    @property
    def kept(self) -> timedelta:
        return self._resolutions[-1].kept

    # What is kept.

    async def restore(self) -> None:
        """What an earlier engine has counted of the buckets that are not over."""
        now = self._clock.now()
        async with self._store.transaction() as tx:
            for one in self._resolutions:
                start = rollups.floor(now, one.width)
                for bucket in await tx.metrics.between(one.width, start, now + _INSTANT):
                    self._current[bucket.function_id, one.width] = bucket

    def sample(self) -> None:
        """Look at what waits and runs."""
        self._counters.begin_sample()
        for function_id, app_id in self._activity.busy().items():
            now = self._activity.of(function_id)
            self._counters.sample(function_id, app_id, now.queued, now.running, now.all_containers)

    async def flush(self) -> None:
        """What was counted goes to the store, and counting begins for the next bucket."""
        await self._learn_names()
        window, self._window = self._window, rollups.floor(self._clock.now(), self._narrowest)
        for function_id, app_id, figures in self._counters.take(self._labels):
            for one in self._resolutions:
                self._add(function_id, app_id, rollups.floor(window, one.width), one.width, figures)
            labels = self._labels[function_id]
            self._totals[labels] = self._totals[labels].then(figures)
        self._forget_what_is_over()
        await self._write()

    async def prune(self) -> None:
        now = self._clock.now()
        async with self._store.transaction() as tx:
            for one in self._resolutions:
                await tx.metrics.delete_before(one.width, now - one.kept)

    # The steps.

    async def _buckets(self, function_ids: Collection[FunctionId] | None, width: int, since: datetime, until: datetime) -> Sequence[Bucket]:
        """Those in the store, with what is not there yet."""
        wanted = None if function_ids is None else set(function_ids)
        async with self._store.transaction() as tx:
            found = {(one.function_id, one.start): one for one in await tx.metrics.between(width, since, until, wanted)}
        found |= {
            (one.function_id, one.start): one
            for one in self._unwritten.values()
            if one.width == width and (wanted is None or one.function_id in wanted) and since <= one.start < until
        }
        buckets = list(found.values())
        if until > self._window:
            for function_id, app_id, figures in self._counters.peek():
                if wanted is None or function_id in wanted:
                    buckets.append(Bucket(function_id=function_id, app_id=app_id, start=self._window, width=width, figures=figures))
        return buckets

    def _up_to_now(self, function_id: FunctionId, figures: Figures, until: datetime, now: datetime) -> Figures:
        """How many containers are left is known exactly, if it is asked of now."""
        if until < now:
            return figures
        return replace(figures, last_containers=self._activity.of(function_id).all_containers)

    def _add(self, function_id: FunctionId, app_id: AppId, start: datetime, width: int, figures: Figures) -> None:
        before = self._current.get((function_id, width))
        if before is not None and before.start == start:
            figures = before.figures.then(figures)
        bucket = Bucket(function_id=function_id, app_id=app_id, start=start, width=width, figures=figures)
        self._current[function_id, width] = self._unwritten[function_id, width, start] = bucket
        while len(self._unwritten) > _MOST_UNWRITTEN:
            del self._unwritten[next(iter(self._unwritten))]

    def _forget_what_is_over(self) -> None:
        over = [key for key, bucket in self._current.items() if bucket.start + timedelta(seconds=bucket.width) <= self._window]
        for key in over:
            del self._current[key]

    async def _write(self) -> None:
        written = dict(self._unwritten)
        if not written:
            return
        try:
            async with self._store.transaction() as tx:
                await tx.metrics.put(list(written.values()))
        except FreeholdError as error:
            log.warning("metrics_delayed", why=str(error), buckets=len(written))
            return
        for key, bucket in written.items():
            if self._unwritten.get(key) is bucket:
                del self._unwritten[key]

    async def _learn_names(self) -> None:
        """Everything that goes by names does so without waiting, so that nothing is counted twice or not at all."""
        counted = [function_id for function_id, _, _ in self._counters.peek()]
        for function_id in [*counted, *self._activity.busy()]:
            if function_id not in self._labels:
                labels = await self._name(function_id)
                if labels not in self._totals and len(self._totals) >= _MOST_LABELS:
                    labels = _OTHER
                self._totals.setdefault(labels, NOTHING)
                self._labels[function_id] = labels
        while len(self._labels) > _KNOWN_LABELS:
            del self._labels[next(iter(self._labels))]

    async def _name(self, function_id: FunctionId) -> Labels:
        try:
            async with self._store.transaction() as tx:
                function = await tx.functions.get(function_id)
                app = await tx.apps.get(function.app_id)
        except NotFound:  # of an image build
            return _OTHER
        name = app.name or app.description or app.id
        return name if app.environment == DEFAULT_ENVIRONMENT else f"{app.environment}/{name}", function.tag.removesuffix(".*")
