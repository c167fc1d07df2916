"""Calls: the last ones, and one with its inputs, what came of them, its log and its story."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from freehold.control.services.call_details import CallDetails
from freehold.control.services.traces import Seen
from freehold.dashboard.acting import actor, as_cursor, go, place_in
from freehold.dashboard.costs import pricing_of, use_of
from freehold.dashboard.log_lines import end_of
from freehold.dashboard.parts import Parts
from freehold.dashboard.views import Views
from freehold.domain.apps import App
from freehold.domain.errors import InvalidRequest, NotFound
from freehold.domain.ids import CallId, is_id
from freehold.domain.logs import LogFilter
from freehold.domain.waterfalls import Row, waterfall

_MOST_ROWS = 100  # of a waterfall


class CallPages:
    def __init__(self, parts: Parts, views: Views) -> None:
        self._parts = parts
        self._views = views
        self.routes = [
            Route("/calls", self._list),
            Route("/calls/{call_id}", self._one),
            Route("/calls/{call_id}/replay", self._replay, methods=["POST"]),
            Route("/calls/{call_id}/cancel", self._cancel, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        page = await self._parts.listings.calls(place_in(request))
        tags = await self._parts.listings.tags([call.record.function_id for call in page.items])
        return self._views.page(request, "calls", calls=page.items, tags=tags, more=as_cursor(page.after))

    async def _one(self, request: Request) -> Response:
        call_id = _of(request)
        try:
            details = await self._parts.desk.details(call_id)
        except NotFound:
            return await self._web_request(request, call_id)
        record = details.call.record
        app = await self._parts.apps.get(record.app_id)
        story = await self._parts.stories.of(call_id)
        pricing = await pricing_of(self._parts)
        wanted = LogFilter(call_id=call_id, since=record.created_at.timestamp() - 1)
        return self._views.page(
            request,
            "call",
            details=details,
            record=record,
            app=app,
            tags=await self._parts.listings.tags([record.function_id]),
            rows=await self._rows(call_id),
            pricing=pricing,
            use=await use_of(self._parts, call_id, pricing),
            story=story,
            parent=record.parent_input_id,
            log=await end_of(request, self._parts.logs, app.id, wanted, f"log={app.id}&call={call_id}", is_live=_is_open(details)),
        )

    async def _web_request(self, request: Request, call_id: CallId) -> Response:
        """Requests that go to their container directly leave lines in a log, under their id, and nothing else."""
        seen = self._parts.traces.seen(call_id)
        for app in await self._apps_of(seen):
            log = await end_of(request, self._parts.logs, app.id, LogFilter(call_id=call_id), f"log={app.id}&call={call_id}")
            if log.lines or seen is not None:
                rows = await self._rows(call_id) if seen is not None else ()
                return self._views.page(request, "web_request", call_id=call_id, app=app, log=log, seen=seen, rows=rows)
        msg = f"No function call {call_id}: results are kept for days, synchronous calls only for a while."
        raise NotFound(msg)

    async def _apps_of(self, seen: Seen | None) -> Sequence[App]:
        if seen is None:
            return await self._parts.listings.live_apps()
        return [await self._parts.apps.get((await self._parts.listings.function(seen[0])).app_id)]

    async def _rows(self, call_id: CallId) -> Sequence[Row]:
        try:
            return waterfall(await self._parts.traces.of(call_id), self._parts.clock.now())[:_MOST_ROWS]
        except NotFound:  # it was forgotten meanwhile
            return ()

    async def _replay(self, request: Request) -> Response:
        made = await self._parts.desk.replay(_of(request), actor(request))
        return go(f"/calls/{made}")

    async def _cancel(self, request: Request) -> Response:
        call_id = _of(request)
        running = await self._parts.calls.cancel(call_id)
        self._parts.journal.event(call_id, "call_cancelled", cause=actor(request), fields={"running": str(len(running))})
        return go(f"/calls/{call_id}")


def _of(request: Request) -> CallId:
    text = request.path_params["call_id"]
    if not is_id(text, "fc"):
        msg = f"{text[:60]!r} is no id of a call."
        raise InvalidRequest(msg)
    return CallId(text)


def _is_open(details: CallDetails) -> bool:
    return details.call.tally.unfinished > 0
