"""What was used of late and what that cost, for pages: of every app today and this month, and of one app or function by day. Days are of UTC."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import anyio

from freehold.control.services.cost import DAY, Costs, costed
from freehold.control.services.usage import BEGINNING, UsageBook
from freehold.domain.clock import Clock
from freehold.domain.cost import Prices
from freehold.domain.ids import AppId
from freehold.domain.usage import HOUR, NOTHING, FunctionUsage, Usage, hour_of, summed

DAYS = 31  # today and those before it: always the whole month up to now
_FRESH = timedelta(seconds=5)  # as long as readings take, there is nothing new to ask the disk for

Row = Mapping[str, Any]  # as `costed` makes them


@dataclass(frozen=True, slots=True, kw_only=True)
class Lately:
    """Of every app that used something, what it used today and this month; at `at`."""

    at: datetime
    today: Mapping[AppId, Usage]
    month: Mapping[AppId, Usage]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Of one app or function. `days` are the last 31 by their dates, oldest first; `functions` has the dearest first."""

    today: Row
    month: Row
    total: Row
    days: Sequence[Row]
    functions: Sequence[Row]


class RecentCosts:
    def __init__(self, *, usage: UsageBook, costs: Costs, clock: Clock) -> None:
        self._usage = usage
        self._costs = costs
        self._clock = clock
        self._asking = anyio.Lock()
        self._month = MonthSoFar(usage)
        self._lately: Lately | None = None

    async def by_app(self) -> Lately:
        """Some seconds old at most."""
        async with self._asking:
            now = self._clock.now()
            if self._lately is None or not timedelta() <= now - self._lately.at < _FRESH:
                today = _by_app(await self._usage.rows(_midnight(now)))
                self._lately = Lately(at=now, today=today, month=await self._month.by_app(now))
            return self._lately

    async def of(self, subject: str, prices: Prices) -> Bill:
        """`subject` is the id of an app or function."""
        today = _midnight(self._clock.now())
        rows = await self._usage.rows_of(subject, today - (DAYS - 1) * DAY, step=DAY)

        def since(begin: datetime) -> Row:
            return costed(subject, "", summed(row for row in rows if row.begins_at >= begin), prices)

        return Bill(
            today=since(today),
            month=since(today.replace(day=1)),
            total=since(today - DAYS * DAY),
            days=[costed("", day.date().isoformat(), usage, prices) for day, usage in _by_day(rows, today).items()],
            functions=await self._costs.sums(rows, "function", prices),
        )


class MonthSoFar:
    """What apps used since the month began. Hours that are over are read once, and then only added to."""

    def __init__(self, usage: UsageBook) -> None:
        self._usage = usage
        self._begin = self._until = BEGINNING
        self._settled: dict[AppId, Usage] = {}

    async def by_app(self, now: datetime) -> Mapping[AppId, Usage]:
        await self._settle(_midnight(now).replace(day=1), hour_of(now - HOUR))  # the last readings of an hour come after it
        return _by_app(await self._usage.rows(self._until), self._settled)

    async def _settle(self, begin: datetime, until: datetime) -> None:
        if begin != self._begin:
            self._begin = self._until = begin
            self._settled = {}
        if self._until < until:
            self._settled = _by_app(await self._usage.rows(self._until, until), self._settled)
            self._until = until


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _by_app(rows: Iterable[FunctionUsage], before: Mapping[AppId, Usage] | None = None) -> dict[AppId, Usage]:
    sums = dict(before or {})
    for row in rows:
        sums[row.app_id] = sums.get(row.app_id, NOTHING) + row.usage
    return sums


def _by_day(rows: Iterable[FunctionUsage], today: datetime) -> Mapping[datetime, Usage]:
    """Also days on which nothing was used."""
    used: dict[datetime, list[FunctionUsage]] = defaultdict(list)
    for row in rows:
        used[row.begins_at].append(row)
    return {day: summed(used[day]) for day in (today - ago * DAY for ago in reversed(range(DAYS)))}
