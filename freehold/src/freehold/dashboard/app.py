"""The engine's own pages as one application: what is served below `/dash`, and who may see it."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from freehold.control.wakeups import Wakeup
from freehold.dashboard.access import ROOT, Access
from freehold.dashboard.apps import AppPages
from freehold.dashboard.budget import Budget
from freehold.dashboard.calls import CallPages
from freehold.dashboard.charts import ChartPages
from freehold.dashboard.containers import ContainerPages
from freehold.dashboard.contents import Contents
from freehold.dashboard.costs import CostPages
from freehold.dashboard.doors import Doors
from freehold.dashboard.functions import FunctionPages
from freehold.dashboard.guard import Guard, page_before, session_of
from freehold.dashboard.ids import IdPages, front_routes
from freehold.dashboard.images import ImagePages
from freehold.dashboard.live import Hub
from freehold.dashboard.marks import Marks
from freehold.dashboard.parts import Parts
from freehold.dashboard.resources import ResourcePages
from freehold.dashboard.schedules import SchedulePages
from freehold.dashboard.streams import Stream, after_of
from freehold.dashboard.terminals import TerminalPages
from freehold.dashboard.tokens import TokenPages
from freehold.dashboard.views import Views
from freehold.domain import errors
from freehold.domain.ids import FunctionId, is_id
from freehold.domain.logs import LogFilter

log = structlog.get_logger(__name__)

_STATIC = Path(__file__).parent / "static"
_STATUSES: Mapping[type[Exception], int] = {
    errors.NotFound: 404,
    errors.InvalidRequest: 400,
    errors.PermissionDenied: 403,
    errors.AlreadyExists: 409,
    errors.Conflict: 409,
    errors.ResourceExhausted: 503,
    errors.Unavailable: 503,
    Exception: 500,
}


class Dashboard:
    """`hub` is to be run in the background. `changed` are hints that what lists show has changed."""

    def __init__(self, parts: Parts, access: Access, *, changed: tuple[Wakeup, ...]) -> None:
        self.access = access
        self._parts = parts
        self._views = Views({"workspace": parts.settings.workspace, "version": parts.status()["version"]})
        pages = self._pages()
        self.hub = Hub(Marks(parts, changed).of, Contents(self._app(pages)).of, Budget())
        whole = self._app(
            [
                *Doors(access, self._views, parts.journal).routes,
                *pages,
                *TerminalPages(parts.execs, parts.tasks).routes,
                Route("/stream", self._stream),
                Mount("/static", StaticFiles(directory=_STATIC)),
            ]
        )
        self.routes: list[BaseRoute] = [*front_routes(), Mount(ROOT, Guard(whole, access=access, domain=parts.settings.domain))]

    def _pages(self) -> Sequence[BaseRoute]:
        parts, views = self._parts, self._views
        return [
            *AppPages(parts, views).routes,
            *FunctionPages(parts, views).routes,
            *ChartPages(parts).routes,
            *CostPages(parts).routes,
            *CallPages(parts, views).routes,
            *ContainerPages(parts, views).routes,
            *ImagePages(parts, views).routes,
            *SchedulePages(parts, views).routes,
            *ResourcePages(parts, views).routes,
            *TokenPages(parts, views).routes,
            *IdPages(parts, views).routes,
        ]

    def _app(self, routes: Sequence[BaseRoute]) -> Starlette:
        return Starlette(
            routes=routes,
            exception_handlers={
                404: self._nothing,
                ClientDisconnect: _nobody_reads,
                errors.FreeholdError: self._refused,
                Exception: self._refused,
            },
        )

    async def _stream(self, request: Request) -> Response:
        """Changes of what the page shows (`watch`), and the lines of a log: of an app or image, or of one function, call or task of it."""
        query = request.query_params
        subject = query.get("log", "")
        if not any(is_id(subject, prefix) for prefix in ("ap", "im")):
            subject = ""
        function_ids: frozenset[str] = frozenset()
        if subject and (function_id := query.get("function", "")):
            function_ids = frozenset(
                await self._parts.functions.variants_of(
                    (await self._parts.listings.function(FunctionId(function_id))).app_id, FunctionId(function_id)
                )
            )
        wanted = LogFilter(task_id=query.get("task", ""), call_id=query.get("call", ""), function_ids=function_ids)
        listener = self.hub.join(query.get("page", ""), query.get("watch", ""))
        return Stream(
            self.hub,
            listener,
            session=lambda: session_of(self.access, request),
            logs=self._parts.logs,
            subject=subject,
            wanted=wanted,
            after=after_of(request),
        )

    async def _refused(self, request: Request, error: Exception) -> Response:
        status = next(_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES)
        words = str(error) if isinstance(error, errors.FreeholdError) else "Something of the engine's own failed; its log tells more."
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("page_failed", path=request.url.path, exc_info=error)
        if "text/html" not in request.headers.get("accept", "text/html"):
            return JSONResponse({"detail": words}, status)
        return self._views.page(request, "refused", http_status=status, words=words, back=page_before(request))

    async def _nothing(self, request: Request, _: Exception) -> Response:
        return self._views.page(request, "refused", http_status=HTTPStatus.NOT_FOUND, words="There is no such page.", back="")


async def _nobody_reads(_: Request, __: Exception) -> Response:
    return Response(status_code=HTTPStatus.BAD_REQUEST)
