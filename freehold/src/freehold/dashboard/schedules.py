"""Schedules: when each runs next and how it went last, run now, pause and resume."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from freehold.control.services.schedules import NamedSchedule
from freehold.dashboard.acting import actor, field, go
from freehold.dashboard.parts import Parts
from freehold.dashboard.views import Views
from freehold.domain.errors import NotFound
from freehold.domain.ids import FunctionId


class SchedulePages:
    def __init__(self, parts: Parts, views: Views) -> None:
        self._parts = parts
        self._views = views
        self.routes = [
            Route("/schedules", self._list),
            Route("/schedules/{function_id}/run", self._run, methods=["POST"]),
            Route("/schedules/{function_id}/pause", self._pause, methods=["POST"]),
            Route("/schedules/{function_id}/resume", self._resume, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        return self._views.page(request, "schedules", schedules=await self._parts.schedules.list())

    async def _run(self, request: Request) -> Response:
        item = await self._named(request)
        call_id = await self._parts.schedules.run(item.name, item.app.environment)
        self._note(item, "schedule_run_asked", request, call_id)
        return go(f"/calls/{call_id}")

    async def _pause(self, request: Request) -> Response:
        item = await self._named(request)
        await self._parts.schedules.pause(item.name, item.app.environment)
        self._note(item, "schedule_pause_asked", request)
        return _back(request)

    async def _resume(self, request: Request) -> Response:
        item = await self._named(request)
        await self._parts.schedules.resume(item.name, item.app.environment)
        self._note(item, "schedule_resume_asked", request)
        return _back(request)

    async def _named(self, request: Request) -> NamedSchedule:
        function_id = FunctionId(request.path_params["function_id"])
        found = [item for item in await self._parts.schedules.list() if item.schedule.function_id == function_id]
        if not found:
            msg = f"Function {function_id} has no schedule (any more)."
            raise NotFound(msg)
        return found[0]

    def _note(self, item: NamedSchedule, kind: str, request: Request, call_id: str = "") -> None:
        fields = {"call_id": call_id} if call_id else {}
        self._parts.journal.event(item.schedule.function_id, kind, cause=actor(request), fields=fields)


def _back(request: Request) -> Response:
    app_id = field(request, "app_id")
    return go(f"/apps/{app_id}" if app_id.startswith("ap-") and app_id[3:].isalnum() else "/schedules")
