"""Calls: the last ones, and one with its inputs, what came of them, its log and its story."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from freehold.control.services.call_details import CallDetails
from freehold.control.services.call_history import PastCall, PastInput
from freehold.dashboard.acting import actor, as_cursor, go, place_in
from freehold.dashboard.log_lines import end_of
from freehold.dashboard.parts import Parts
from freehold.dashboard.views import Views, status_of_input
from freehold.domain.calls import Attempt
from freehold.domain.errors import InvalidRequest, NotFound
from freehold.domain.ids import CallId, is_id
from freehold.domain.logs import LogFilter

_WIDTH = 1000.0  # of a waterfall, in its own units
_NARROWEST = 2.0
_MOST_BARS = 60


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of a waterfall; `start` and `width` in thousandths of the whole."""

    label: str
    kind: str
    start: float
    width: float
    seconds: float
    link: str = ""


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
        wanted = LogFilter(call_id=call_id, since=record.created_at.timestamp() - 1)
        return self._views.page(
            request,
            "call",
            details=details,
            record=record,
            app=app,
            tags=await self._parts.listings.tags([record.function_id]),
            bars=_bars(details.call),
            story=story,
            parent=record.parent_input_id,
            log=await end_of(self._parts.logs, app.id, wanted, f"log={app.id}&call={call_id}", is_live=_is_open(details)),
        )

    async def _web_request(self, request: Request, call_id: CallId) -> Response:
        """Requests that go to their container directly leave lines in a log, under their id, and nothing else."""
        for app in await self._parts.listings.live_apps():
            log = await end_of(self._parts.logs, app.id, LogFilter(call_id=call_id), f"log={app.id}&call={call_id}")
            if log.lines:
                return self._views.page(request, "web_request", call_id=call_id, app=app, log=log)
        msg = f"No function call {call_id}: results are kept for days, synchronous calls only for a while."
        raise NotFound(msg)

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
    return any(not item.status for item in details.call.inputs)


def _bars(call: PastCall) -> Sequence[Bar]:
    """How the call's time went: waiting and running, input by input and try by try."""
    begin, now = call.record.created_at, datetime.now(UTC)
    spans = [span for item in call.inputs[:_MOST_BARS] for span in _spans(item, begin, now, is_alone=len(call.inputs) == 1)][:_MOST_BARS]
    whole = max([(span.end - begin).total_seconds() for span in spans], default=0.0) or 0.001
    return [span.bar(begin, whole) for span in spans]


@dataclass(frozen=True, slots=True)
class _Span:
    label: str
    kind: str
    start: datetime
    end: datetime
    link: str = ""

    def bar(self, begin: datetime, whole: float) -> Bar:
        seconds = max((self.end - self.start).total_seconds(), 0.0)
        at = max((self.start - begin).total_seconds(), 0.0)
        width = max(seconds / whole * _WIDTH, _NARROWEST)
        return Bar(self.label, self.kind, min(round(at / whole * _WIDTH, 1), _WIDTH - _NARROWEST), round(width, 1), seconds, self.link)


def _spans(item: PastInput, begin: datetime, now: datetime, *, is_alone: bool) -> Iterable[_Span]:
    place = "" if is_alone else f"input {item.idx}, "
    since = begin
    for attempt in item.tries:
        yield _Span(f"{place}waiting", "waiting", since, attempt.started_at)
        since = attempt.ended_at or now
        yield _Span(f"{place}try {attempt.number + 1}", _kind(item, attempt), attempt.started_at, since, attempt.task_id)


def _kind(item: PastInput, attempt: Attempt) -> str:
    if attempt.ended_at is None:
        return "running"
    return "failed" if attempt.outcome or status_of_input(item) != "success" else "success"
