"""Containers: those that run and those that did, and one with its start, its log and its story."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from freehold.dashboard.acting import actor, as_cursor, go, place_in
from freehold.dashboard.costs import pricing_of, use_of
from freehold.dashboard.log_lines import end_of
from freehold.dashboard.parts import Parts
from freehold.dashboard.views import Views
from freehold.domain.coldstarts import Phase, durations, whole
from freehold.domain.ids import TaskId
from freehold.domain.logs import LogFilter

# What happens in each phase of a start, for people.
_PHASES = {
    Phase.CONTAINER: "the container is made",
    Phase.PYTHON: "Python starts",
    Phase.FORKED: "it is forked",
    Phase.RUNTIME: "modal's runtime",
    Phase.IMPORTS: "your imports",
    Phase.ENTER: "enter hooks",
    Phase.INPUT: "no input yet",
    Phase.OUTPUT: "the first output",
}


class ContainerPages:
    def __init__(self, parts: Parts, views: Views) -> None:
        self._parts = parts
        self._views = views
        self.routes = [
            Route("/containers", self._list),
            Route("/containers/{task_id}", self._one),
            Route("/containers/{task_id}/stop", self._stop, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        page = await self._parts.listings.tasks(place_in(request))
        tags = await self._parts.listings.tags([task.function_id for task in page.items])
        names = await self._parts.listings.app_names([task.app_id for task in page.items])
        return self._views.page(request, "containers", tasks=page.items, tags=tags, names=names, more=as_cursor(page.after))

    async def _one(self, request: Request) -> Response:
        task = await self._parts.history.get(TaskId(request.path_params["task_id"]))
        live = self._parts.tasks.find(task.id)
        start = await self._parts.cold_starts.start_of(task)
        spans = durations(start)
        pricing = await pricing_of(self._parts)
        wanted = LogFilter(task_id=task.id, since=task.enqueued_at.timestamp() - 1)
        return self._views.page(
            request,
            "container",
            task=task,
            live=live,
            app=await self._parts.apps.get(task.app_id),
            tags=await self._parts.listings.tags([task.function_id]),
            pricing=pricing,
            use=await use_of(self._parts, task.id, pricing),
            story=await self._parts.stories.of(task.id),
            start=start,
            phases=[(_PHASES[phase], phase, seconds) for phase, seconds in spans.items()],
            start_seconds=whole(spans),
            running=[(item.call.id, item.id) for item in live.running.values()][:50] if live else [],
            log=await end_of(request, self._parts.logs, task.app_id, wanted, f"log={task.app_id}&task={task.id}", is_live=live is not None),
        )

    async def _stop(self, request: Request) -> Response:
        """As `modal container stop`: what it runs is interrupted, and tried again elsewhere."""
        live = self._parts.tasks.get(TaskId(request.path_params["task_id"]))
        self._parts.claims.drain(live, actor(request))
        self._parts.tasks.stop(live, actor(request))
        return go(f"/containers/{live.id}")
