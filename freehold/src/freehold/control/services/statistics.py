"""The figures of apps and functions by their names: what people ask for."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from freehold.control.services.activity import Activity, Now
from freehold.control.services.apps import Apps
from freehold.control.services.cost import Costs
from freehold.control.services.counters import Counters, ServedRequest
from freehold.control.services.explanations import Explanations
from freehold.control.services.functions import Functions
from freehold.control.services.metrics import Metrics, Summary
from freehold.domain.apps import App
from freehold.domain.clock import Clock
from freehold.domain.errors import InvalidRequest, NotSupported
from freehold.domain.figures import NOTHING, Figures, Histogram, together
from freehold.domain.functions import Function
from freehold.domain.ids import AppId, FunctionId, is_id
from freehold.domain.usage import hour_of
from freehold.store.ports import Store
from freehold.wire import functions as wire

_HOUR = 3600.0
_LONGEST = 366 * 24 * _HOUR
_TOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionFigures:
    """One function with all its variants."""

    function: Function
    figures: Figures
    now: Now
    is_server: bool = False

    @property
    def name(self) -> str:
        return self.function.tag


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFigures:
    app: App
    since: datetime
    until: datetime
    functions: Sequence[FunctionFigures]


class Statistics:
    def __init__(
        self,
        *,
        store: Store,
        apps: Apps,
        functions: Functions,
        explanations: Explanations,
        metrics: Metrics,
        activity: Activity,
        counters: Counters,
        costs: Costs,
        clock: Clock,
    ) -> None:
        self._store = store
        self._apps = apps
        self._functions = functions
        self._explanations = explanations
        self._metrics = metrics
        self._activity = activity
        self._counters = counters
        self._costs = costs
        self._clock = clock

    async def of_app(self, app_id: AppId, since: datetime, until: datetime, only: Collection[FunctionId] = ()) -> AppFigures:
        """Of the functions of its live version; an app that has none (any more) has the figures of all that it had."""
        app = await self._apps.get(app_id)
        layout = set((await self._apps.layout(app_id)).function_ids.values())
        async with self._store.transaction() as tx:
            every = await tx.functions.of_app(app_id)
        wanted = [function for function in every if not function.is_bound and (not layout or function.id in layout)]
        shown = [function for function in wanted if not only or function.id in only]
        variants = {function.id: [one.id for one in every if function.id in (one.id, one.base_id)] for function in shown}
        found = await self._metrics.summary([id_ for ids in variants.values() for id_ in ids], since=since, until=until)
        rows = [await self._row(function, variants[function.id], found) for function in shown]
        return AppFigures(app=app, since=found.since, until=found.until, functions=sorted(rows, key=lambda row: row.name))

    async def _row(self, function: Function, variants: Sequence[FunctionId], found: Summary) -> FunctionFigures:
        return FunctionFigures(
            function=function,
            figures=together(found.functions.get(function_id, NOTHING) for function_id in variants),
            now=self._activity.together(variants),
            is_server=await self._is_server(function),
        )

    async def _is_server(self, function: Function) -> bool:
        if function.live_definition_id is None:
            return False
        live = self._functions.known(function.id)
        if live is not None:
            return live.spec.is_server
        async with self._store.transaction() as tx:
            definition = await tx.functions.get_definition(function.live_definition_id)
        return wire.spec_of(wire.effective(definition, function)).is_server

    async def ids_of(self, function_id: FunctionId, *, all_variants: bool) -> list[FunctionId]:
        live = await self._functions.live(function_id)
        return await self._functions.variants(live.function) if all_variants else [live.id]

    async def requests_of(self, function_id: FunctionId) -> Sequence[ServedRequest]:
        """The last requests that a server answered, oldest first; since the engine began. Raises InvalidRequest for what is no server."""
        live = await self._functions.live(function_id)
        if not live.spec.is_server:
            msg = f"{live.function.tag} is no server; `modal function calls` lists its calls."
            raise InvalidRequest(msg)
        return self._counters.requests_of(live.id)

    # What the `freehold` command asks.

    async def stats(self, request: dict[str, Any]) -> dict[str, Any]:
        """`subject` is an app, `app.function`, or the id of one; `environment` that of the name; `seconds` the length of the window. What was
        used is known by whole hours, so it is told from the hour on in which the window begins.
        """
        seconds = _length(request.get("seconds", _HOUR))
        app_id, only = await self._subject(str(request.get("subject", "")), str(request.get("environment", "")))
        now = self._clock.now()
        found = await self.of_app(app_id, now - timedelta(seconds=seconds), now, only)
        hour = hour_of(found.since)
        rows = [told(row.name, row.figures, row.now) | await self._used(row.function.id, hour) for row in found.functions]
        total = together(row.figures for row in found.functions)
        all_now = Now()
        for row in found.functions:
            all_now = all_now.beside(row.now)
        return {
            "app": found.app.name or found.app.description,
            "app_id": found.app.id,
            "state": found.app.state.value,
            "since": found.since.isoformat(),
            "until": found.until.isoformat(),
            "used_since": hour.isoformat(),
            "currency": (await self._costs.prices()).currency,
            "functions": rows,
            "total": told("all", total, all_now) | await self._used(next(iter(only), None) or found.app.id, hour),
        }

    async def _used(self, subject: str, since: datetime) -> dict[str, Any]:
        used = await self._costs.of(subject, since)
        return {"used": {name: used[name] for name in ("cpu_core_seconds", "memory_gib_seconds", "gpu_seconds", "cost")}}

    async def top(self, request: dict[str, Any]) -> dict[str, Any]:
        """All functions that did something in the last minute or have containers; and all together."""
        del request
        now = self._clock.now()
        found = await self._metrics.summary(None, since=now - timedelta(seconds=_TOP_SECONDS), until=now)
        seconds = (found.until - found.since).total_seconds()
        names = await self._metrics.names([*found.functions, *self._activity.busy()])
        rows: dict[tuple[str, str], tuple[Figures, Now]] = {}
        for function_id, labels in names.items():
            figures, then = rows.get(labels, (NOTHING, Now()))
            rows[labels] = figures.beside(found.functions.get(function_id, NOTHING)), then.beside(self._activity.of(function_id))
        return {
            "seconds": seconds,
            "functions": [{"app": app, **told(name, figures, then)} for (app, name), (figures, then) in rows.items()],
            "total": told("all", found.figures, self._activity.of_all()),
        }

    async def _subject(self, subject: str, environment: str) -> tuple[AppId, Collection[FunctionId]]:
        """The app, and which of its functions are meant; none: all."""
        if (app := await self._apps.find_deployed(environment, subject)) is not None:
            return app.id, ()
        if is_id(subject, "ap"):
            return AppId(subject), ()
        found = await self._explanations.id_of(subject, environment)
        if not is_id(found, "fu"):
            msg = f"Figures are kept of apps and functions. Ask for the app, or app.function, that {subject} belongs to."
            raise NotSupported(msg)
        async with self._store.transaction() as tx:
            function = await tx.functions.get(FunctionId(found))
        return function.app_id, {function.base_id or function.id}


def percentiles(durations: Histogram) -> dict[str, float | None]:
    return {f"p{percent}": durations.percentile(percent) for percent in (50, 95, 99)}


def _length(seconds: Any) -> float:
    if not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST:
        msg = "The length of the window is a number of seconds, up to a year."
        raise InvalidRequest(msg)
    return float(seconds)


def told(name: str, figures: Figures, now: Now) -> dict[str, Any]:
    """As JSON; durations are seconds, or null where nothing was measured."""
    return {
        "name": name,
        "calls": figures.calls,
        "errors": figures.errors,
        "timeouts": figures.timed_out,
        "cancelled": figures.cancelled,
        "latency": percentiles(figures.latency),
        "execution": percentiles(figures.execution),
        "cold_starts": figures.starts.count,
        "start": percentiles(figures.starts),
        "broken_containers": figures.broken,
        "most_containers": max(figures.most_containers, now.all_containers),
        "mean_batch": figures.mean_batch,
        "queued": now.queued,
        "running": now.running,
        "waiting": now.waiting,
        "containers": {state.value: count for state, count in now.containers.items()},
    }
