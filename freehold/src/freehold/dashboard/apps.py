"""Apps: all of them, and one with its functions, versions, schedules, addresses and log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from freehold.control.services.schedules import NamedSchedule
from freehold.dashboard.acting import actor, as_cursor, go, place_in, whole
from freehold.dashboard.acting import field as form_field
from freehold.dashboard.charts import sparks
from freehold.dashboard.costs import bill_of, costs_of_apps, pricing_of
from freehold.dashboard.log_lines import end_of
from freehold.dashboard.parts import Parts
from freehold.dashboard.views import Views
from freehold.domain.apps import App
from freehold.domain.ids import AppId, CallId, FunctionId
from freehold.domain.logs import LogFilter
from freehold.domain.tasks import TaskState

_VERSIONS = 20
_FAILURES = 10
_EVENTS = 30


@dataclass(slots=True)
class Load:
    """What runs and waits now, of an app or of a function with its variants."""

    containers: int = 0
    starting: int = 0
    running: int = 0
    queued: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionRow:
    id: FunctionId
    tag: str
    load: Load
    urls: Mapping[str, str] = field(default_factory=dict)
    schedule: NamedSchedule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRequest:
    """A web request that got an error of the server, or nothing."""

    call_id: CallId
    function_id: FunctionId
    tag: str
    what: str
    at: datetime


class AppPages:
    def __init__(self, parts: Parts, views: Views) -> None:
        self._parts = parts
        self._views = views
        self.routes = [
            Route("/", self._list),
            Route("/apps", _front),
            Route("/apps/{app_id}", self._one),
            Route("/apps/{app_id}/rollback", self._roll_back, methods=["POST"]),
            Route("/apps/{app_id}/promote", self._promote, methods=["POST"]),
            Route("/apps/{app_id}/rollover", self._roll_over, methods=["POST"]),
            Route("/apps/{app_id}/stop", self._stop, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        live = await self._parts.listings.live_apps()
        stopped = await self._parts.listings.stopped_apps(place_in(request))
        failures = await self._parts.listings.failures(limit=_FAILURES)
        loads = self._loads()
        pricing = await pricing_of(self._parts)
        rows = [(app, loads.get(app.id, Load())) for app in live]
        names = {app.id: app.name or app.description for app in (*live, *stopped.items)}
        return self._views.page(
            request,
            "apps",
            rows=rows,
            sparks=await sparks(self._parts),
            pricing=pricing,
            costs=await costs_of_apps(self._parts, pricing),
            requests=await self._requests(None),
            stopped=stopped.items,
            more=as_cursor(stopped.after),
            failures=failures,
            names=names,
            tags=await self._tags([failure.function_id for failure in failures]),
        )

    async def _one(self, request: Request) -> Response:
        app = await self._parts.apps.get(AppId(request.path_params["app_id"]))
        functions = await self._functions(app)
        failures = await self._parts.listings.failures(app.id, _FAILURES)
        pricing = await pricing_of(self._parts)
        return self._views.page(
            request,
            "app",
            app=app,
            functions=functions,
            versions=await self._parts.diffs.of_app(app.id, _VERSIONS),
            failures=failures,
            tags=await self._tags([failure.function_id for failure in failures]),
            requests=await self._requests([row.id for row in functions]),
            pricing=pricing,
            bill=await bill_of(self._parts, request, app.id, pricing),
            tasks=(await self._parts.listings.tasks(None, app_id=app.id, limit=10)).items,
            events=(await self._parts.stories.of(app.id)).events[-_EVENTS:],
            log=await end_of(request, self._parts.logs, app.id, LogFilter(), f"log={app.id}", is_live=app.is_live),
        )

    async def _roll_back(self, request: Request) -> Response:
        app_id, version = _of(request), whole(form_field(request, "version"), "version")
        await self._parts.deployments.roll_back(app_id, version, actor=actor(request))
        return go(f"/apps/{app_id}")

    async def _promote(self, request: Request) -> Response:
        app_id, version = _of(request), whole(form_field(request, "version"), "version")
        await self._parts.deployments.promote(app_id, version, actor=actor(request))
        return go(f"/apps/{app_id}")

    async def _roll_over(self, request: Request) -> Response:
        app, _ = await self._parts.deployments.roll_over(_of(request), actor=actor(request))
        return go(f"/apps/{app.id}")

    async def _stop(self, request: Request) -> Response:
        app = await self._parts.apps.stop(_of(request), actor(request))
        return go(f"/apps/{app.id}")

    def _loads(self) -> Mapping[AppId, Load]:
        """Of every app that has something."""
        loads: dict[AppId, Load] = {}
        for live in self._parts.tasks.all():
            _add_task(loads.setdefault(live.task.app_id, Load()), live.state, live.load)
        for pool in self._parts.calls.pools():
            loads.setdefault(pool.app_id, Load()).queued += pool.queued
        return loads

    async def _functions(self, app: App) -> Sequence[FunctionRow]:
        layout = await self._parts.apps.layout(app.id)
        schedules = {item.schedule.function_id: item for item in await self._parts.schedules.list() if item.app.id == app.id}
        rows = []
        for tag, function_id in sorted(layout.function_ids.items()):
            urls = (await self._parts.functions.live(function_id)).web_urls if app.is_live else {}
            load = await self._load_of(app, function_id)
            rows.append(FunctionRow(id=function_id, tag=tag.removesuffix(".*"), load=load, urls=urls, schedule=schedules.get(function_id)))
        return rows

    async def _load_of(self, app: App, function_id: FunctionId) -> Load:
        load = Load()
        for variant in await self._parts.functions.variants_of(app.id, function_id):
            for live in self._parts.tasks.of_function(variant).values():
                _add_task(load, live.state, live.load)
            pool = self._parts.calls.find_pool(variant)
            load.queued += pool.queued if pool is not None else 0
        return load

    async def _requests(self, function_ids: Sequence[FunctionId] | None) -> Sequence[FailedRequest]:
        found = self._parts.traces.failed_requests(function_ids, _FAILURES)
        tags = await self._tags([seen[0] for _, seen in found])
        return [
            FailedRequest(
                call_id=call_id,
                function_id=seen[0],
                tag=tags.get(seen[0], seen[0]),
                what=f"{seen[1]} {seen[2] or 'no response'}",
                at=datetime.fromtimestamp(seen[6] or seen[3], UTC),
            )
            for call_id, seen in found
        ]

    async def _tags(self, function_ids: Sequence[FunctionId]) -> Mapping[FunctionId, str]:
        return await self._parts.listings.tags(function_ids)


async def _front(_: Request) -> Response:
    return go("/")


def _of(request: Request) -> AppId:
    return AppId(request.path_params["app_id"])


def _add_task(load: Load, state: TaskState, inputs: int) -> None:
    load.containers += 1
    load.starting += state in (TaskState.PENDING, TaskState.STARTING)
    load.running += inputs
