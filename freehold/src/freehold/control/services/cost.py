"""What was used, with names and prices: for people, by app, function or day, and for the client's billing commands."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol, TypeVar

from freehold.control.services.usage import UsageBook
from freehold.domain.apps import App
from freehold.domain.clock import Clock
from freehold.domain.cost import Prices, cost_of
from freehold.domain.errors import InvalidRequest, NotFound
from freehold.domain.functions import Function
from freehold.domain.ids import AppId, FunctionId, is_id
from freehold.domain.since import since
from freehold.domain.usage import HOUR, NOTHING, FunctionUsage, Usage
from freehold.store.ports import Store

K = TypeVar("K")
Id = TypeVar("Id")
F = TypeVar("F")

DAY = timedelta(days=1)
_STEPS = {"d": DAY, "h": HOUR}
_DEFAULT_SINCE = "30d"


class PriceSource(Protocol):
    async def prices(self) -> Prices:
        """As they are now. Raises InvalidRequest."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AppCost:
    """Of one app in one interval. `costs` is by resource."""

    app: App
    begins_at: datetime
    usage: Usage
    costs: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class _Names:
    """Apps and functions that something was used by, also those that are gone; None for what nobody remembers."""

    apps: Mapping[AppId, App | None]
    functions: Mapping[FunctionId, Function | None]

    def app(self, row: FunctionUsage) -> tuple[str, str]:
        """Its id and what it is called."""
        app = self.apps[row.app_id]
        return row.app_id, (app.name or app.description or app.id) if app else row.app_id

    def function(self, row: FunctionUsage) -> tuple[str, str]:
        """Variants count as the function whose code they are."""
        function = self.functions[row.function_id]
        if function is None:
            return row.function_id, row.function_id
        return function.base_id or function.id, f"{self.app(row)[1]}.{function.tag.removesuffix('.*')}"


class Costs:
    def __init__(self, *, usage: UsageBook, prices: PriceSource, store: Store, clock: Clock) -> None:
        self._usage = usage
        self._prices = prices
        self._store = store
        self._clock = clock

    async def prices(self) -> Prices:
        return await self._prices.prices()

    async def table(self, request: dict[str, Any]) -> dict[str, Any]:
        """`by` is app, function or day; `since` as people write it. Rows with their sums, the dearest first, days in their order."""
        by, begin = str(request.get("by") or "app"), str(request.get("since") or _DEFAULT_SINCE)
        begins_at, prices = since(begin, self._clock.now()), await self.prices()
        if by not in ("app", "function", "day"):
            msg = f"Usage is summed by app, function or day, not by {by!r}."
            raise InvalidRequest(msg)
        rows = await self._usage.rows(begins_at.replace(minute=0, second=0, microsecond=0), step=DAY if by == "day" else None)
        sums, total = await self.sums(rows, by, prices), costed("", "total", _all(rows), prices)
        return {"by": by, "since": begins_at.isoformat(), "currency": prices.currency, "rows": sums, "total": total}

    async def sums(self, rows: Sequence[FunctionUsage], by: str, prices: Prices) -> list[dict[str, Any]]:
        """By app, function or day, as `table` tells them."""
        names = await self._names(rows)
        keys = {"app": names.app, "function": names.function, "day": _day}[by]
        sums = [costed(*key, usage, prices) for key, usage in _grouped(rows, keys).items()]
        if by != "day":
            sums.sort(key=lambda row: (Decimal(row["cost"]), row["cpu_core_seconds"]), reverse=True)
        return sums

    async def of(self, subject: str, begin: datetime | None = None) -> dict[str, Any]:
        """What an app, function, call or task has used, by id, and what that cost."""
        return costed(subject, subject, await self._usage.of(subject, begin), await self.prices())

    async def show(self, request: dict[str, Any]) -> dict[str, Any]:
        """`subject` is the id of an app, function, call or task; `since`, as people write it, counts for the first two. As `table`."""
        subject, begin = str(request.get("subject", "")), since(str(request.get("since") or _DEFAULT_SINCE), self._clock.now())
        if not any(is_id(subject, prefix) for prefix in ("ap", "fu", "fc", "ta")):
            msg = f"{subject!r} is no id of a call (fc-…), container (ta-…), function (fu-…) or app (ap-…)."
            raise InvalidRequest(msg)
        row = await self.of(subject, begin)
        currency = (await self.prices()).currency
        return {"by": "id", "since": begin.isoformat(), "currency": currency, "rows": [row], "total": row}

    async def by_app(
        self, begin: datetime, end: datetime, resolution: str, *, environments: Collection[str] = (), app_ids: Collection[str] = ()
    ) -> list[AppCost]:
        """By whole days ("d") or hours ("h") of UTC that lie before the end, oldest first; of all environments and apps, or of these."""
        step = _STEPS.get(resolution)
        if step is None:
            msg = f'Costs are told by days ("d") or hours ("h"), not by {resolution!r}.'
            raise InvalidRequest(msg)
        prices = await self.prices()
        rows = await self._usage.rows(_floor(begin, step), _floor(end, step), step=step)
        names = await self._names(rows)
        return [
            AppCost(app=app, begins_at=begins_at, usage=usage, costs=cost_of(usage, prices))
            for (begins_at, app_id), usage in _grouped(rows, lambda row: (row.begins_at, row.app_id)).items()
            if (app := names.apps[app_id]) and (not environments or app.environment in environments) and (not app_ids or app_id in app_ids)
        ]

    async def of_month(self, begin: datetime, environment: str = "") -> tuple[datetime, Mapping[str, Decimal]]:
        """The end of the month that begins then, and its costs by resource; of all environments, or one."""
        end = (begin + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        costs: dict[str, Decimal] = defaultdict(Decimal)
        for row in await self.by_app(begin, end, "d", environments=[environment] if environment else ()):
            for resource, cost in row.costs.items():
                costs[resource] += cost
        return end, costs

    async def _names(self, rows: Sequence[FunctionUsage]) -> _Names:
        apps: dict[AppId, App | None] = {row.app_id: None for row in rows}
        functions: dict[FunctionId, Function | None] = {row.function_id: None for row in rows}
        async with self._store.transaction() as tx:
            for app_id in apps:
                apps[app_id] = await _found(tx.apps.get, app_id)
            for function_id in functions:
                functions[function_id] = await _found(tx.functions.get, function_id)
        return _Names(apps, functions)


def _floor(moment: datetime, step: timedelta) -> datetime:
    start = moment.replace(minute=0, second=0, microsecond=0)
    return start.replace(hour=0) if step == DAY else start


def _day(row: FunctionUsage) -> tuple[str, str]:
    return "", row.begins_at.date().isoformat()


def _all(rows: Sequence[FunctionUsage]) -> Usage:
    return _grouped(rows, lambda _: "").get("", NOTHING)


def _grouped(rows: Sequence[FunctionUsage], key: Callable[[FunctionUsage], K]) -> dict[K, Usage]:
    """In the order of the rows."""
    sums: dict[K, Usage] = {}
    for row in rows:
        sums[key(row)] = sums.get(key(row), NOTHING) + row.usage
    return sums


def costed(subject: str, name: str, usage: Usage, prices: Prices) -> dict[str, Any]:
    """What was used and what that cost, as it is told: JSON has it, so sums of money are text."""
    costs = cost_of(usage, prices)
    return {
        "id": subject,
        "name": name,
        "inputs": usage.inputs,
        "cpu_core_seconds": round(usage.cpu_core_seconds, 3),
        "memory_gib_seconds": round(usage.memory_gib_seconds, 3),
        "gpu_seconds": {gpu: round(seconds, 3) for gpu, seconds in usage.gpu_seconds.items()},
        "cost": f"{sum(costs.values(), Decimal(0)):f}",
        "costs": {resource: f"{cost:f}" for resource, cost in costs.items()},
    }


async def _found(get: Callable[[Id], Awaitable[F]], subject: Id) -> F | None:
    try:
        return await get(subject)
    except NotFound:
        return None
