"""One function: what it does now and why, its settings, its calls and containers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from modal_proto import api_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from freehold.control.services.functions import LiveFunction
from freehold.dashboard.acting import actor, as_cursor, field, go, place_in, whole
from freehold.dashboard.costs import bill_of, pricing_of
from freehold.dashboard.log_lines import end_of
from freehold.dashboard.parts import Parts
from freehold.dashboard.views import Views
from freehold.domain.errors import InvalidRequest, NotFound
from freehold.domain.functions import AutoscalerSettings
from freehold.domain.ids import FunctionId, is_id
from freehold.domain.logs import LogFilter
from freehold.wire.shown import shown_parameters

_TASKS = 10
_EVENTS = 30
_VARIANTS = 50
# What can be changed while it runs, and what each is for.
_SETTINGS = {
    "min_containers": "kept running without work",
    "max_containers": "at most; 0: what default_max_containers of the engine says",
    "buffer_containers": "spare ones while there is work",
    "scaledown_window": "seconds idle before one is let go",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Now. `room` is how many inputs its ready containers could take at once beyond what they run."""

    containers: int
    running: int
    waiting: int
    room: int


class FunctionPages:
    def __init__(self, parts: Parts, views: Views) -> None:
        self._parts = parts
        self._views = views
        self.routes = [
            Route("/functions/{function_id}", self._one),
            Route("/functions/{function_id}/autoscaler", self._scale, methods=["POST"]),
        ]

    async def _one(self, request: Request) -> Response:
        function_id = _of(request)
        explanation = await self._parts.explanations.of(function_id)
        try:
            live = await self._parts.functions.live(function_id)
        except NotFound:  # its app has stopped
            live = None
        function = await self._parts.listings.function(function_id)
        variants = await self._parts.functions.variants_of(function.app_id, function_id)
        calls = await self._parts.listings.calls(place_in(request), function_ids=self._busiest(variants))
        wanted = LogFilter(function_ids=frozenset(variants))
        pricing = await pricing_of(self._parts)
        return self._views.page(
            request,
            "function",
            function=function,
            app=await self._parts.apps.get(function.app_id),
            live=live,
            why=explanation.sentences,
            stats=await self._stats(variants) if live else None,
            settings=self._settings(live) if live else {},
            changed=self._parts.functions.override_of(live).changed_at if live else {},
            explained=_SETTINGS,
            resources=_resources(live) if live else {},
            pricing=pricing,
            bill=await bill_of(self._parts, request, function_id, pricing),
            variants=await self._variants(variants - {function_id}),
            more_variants=max(len(variants) - 1 - _VARIANTS, 0),
            tasks=(await self._parts.listings.tasks(None, app_id=function.app_id, function_ids=variants, limit=_TASKS)).items,
            calls=calls.items,
            more=as_cursor(calls.after),
            events=(await self._parts.stories.of(function_id)).events[-_EVENTS:],
            log=await end_of(request, self._parts.logs, function.app_id, wanted, f"log={function.app_id}&function={function_id}"),
        )

    async def _scale(self, request: Request) -> Response:
        live = await self._parts.functions.live(_of(request))
        now = self._settings(live)
        given = {name: whole(field(request, name), name) for name in _SETTINGS if field(request, name)}
        new = {name: value for name, value in given.items() if value != now[name]}
        if not new:
            msg = "Nothing was changed: these are the settings already."
            raise InvalidRequest(msg)
        settings = api_pb2.AutoscalerSettings(**new)
        await self._parts.scaling.update(live, api_pb2.FunctionUpdateSchedulingParamsRequest(function_id=live.id, settings=settings))
        fields = {name: f"{now[name]} → {value}" for name, value in new.items()}
        self._parts.journal.event(live.id, "autoscaler_changed", cause=actor(request), fields=fields)
        return go(f"/functions/{live.id}")

    def _busiest(self, function_ids: Collection[FunctionId]) -> Sequence[FunctionId]:
        """Those with most containers first, and no more than a page can tell of."""
        return sorted(function_ids, key=lambda one: (-len(self._parts.tasks.of_function(one)), one))[:_VARIANTS]

    async def _stats(self, function_ids: Collection[FunctionId]) -> Stats:
        """Of the function and its variants together."""
        busy = [one for one in function_ids if self._parts.tasks.of_function(one) or self._parts.calls.find_pool(one)]
        found = [self._parts.scaling.stats(await self._parts.functions.live(one)) for one in busy]
        return Stats(
            containers=sum(one.num_total_tasks for one in found),
            running=sum(one.num_running_inputs for one in found),
            waiting=sum(one.backlog for one in found),
            room=sum(one.input_headroom for one in found),
        )

    async def _variants(self, function_ids: Collection[FunctionId]) -> Sequence[tuple[FunctionId, str, Stats]]:
        """Each with its parameters, and what it does."""
        found = [await self._parts.listings.function(one) for one in self._busiest(function_ids)]
        return [(one.id, shown_parameters(one.serialized_params), await self._stats([one.id])) for one in found]

    def _settings(self, live: LiveFunction) -> Mapping[str, int]:
        return _values(self._parts.functions.autoscaler_of(live))


def _of(request: Request) -> FunctionId:
    text = request.path_params["function_id"]
    if not is_id(text, "fu"):
        msg = f"{text[:60]!r} is no id of a function."
        raise InvalidRequest(msg)
    return FunctionId(text)


def _values(settings: AutoscalerSettings) -> Mapping[str, int]:
    return {
        "min_containers": settings.min_containers,
        "max_containers": settings.max_containers or 0,
        "buffer_containers": settings.buffer_containers,
        "scaledown_window": int(settings.scaledown_window.total_seconds()),
    }


def _resources(live: LiveFunction) -> Mapping[str, str]:
    """What it asks for, in words."""
    spec = live.spec
    asked = spec.resources
    found = {
        "image": spec.image_id,
        "cpu": f"{asked.milli_cpu / 1000:g}" if asked.milli_cpu else "",
        "memory": f"{asked.memory_mib} MiB" if asked.memory_mib else "",
        "gpu": " or ".join(f"{gpu.type}:{gpu.count}" for gpu in asked.gpus),
        "timeout": f"{spec.timeout.total_seconds():g} s",
        "inputs at once": str(spec.concurrency.max_inputs) if spec.concurrency.max_inputs > 1 else "",
        "retries": str(live.message.retry_policy.retries or ""),
        "secrets": str(len(spec.secret_ids) or ""),
        "volumes": ", ".join(mount.path for mount in spec.volumes),
    }
    return {name: words for name, words in found.items() if words}
