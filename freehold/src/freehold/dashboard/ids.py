"""From any id to its page: the client's links, and what people paste into the search field."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from freehold.dashboard.access import ROOT
from freehold.dashboard.acting import go
from freehold.dashboard.parts import Parts
from freehold.dashboard.views import Views
from freehold.domain.errors import FreeholdError, NotFound
from freehold.domain.ids import ClassId, InputId, is_id
from freehold.observability.events import Story

_PAGES = {"ap": "apps", "fu": "functions", "fc": "calls", "ta": "containers", "im": "images", "vo": "volumes"}
_LISTS = {"st": "secrets", "wk": "tokens", "ak": "tokens", "en": "settings"}


class IdPages:
    def __init__(self, parts: Parts, views: Views) -> None:
        self._parts = parts
        self._views = views
        self.routes = [Route("/id/{subject}", self._id), Route("/go", self._search)]

    async def _id(self, request: Request) -> Response:
        subject = request.path_params["subject"]
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse(_as_json(await self._parts.stories.of(subject)))
        if (path := await self._path_of(subject)) is not None:
            return go(path)
        return self._views.page(request, "story", story=await self._parts.stories.of(subject))

    async def _search(self, request: Request) -> Response:
        words = request.query_params.get("q", "").strip()[:200]
        if any(is_id(words, prefix) for prefix in ("in", "cs", *_PAGES, *_LISTS)):
            return go(f"/id/{words}")
        named = [app for app in await self._parts.listings.live_apps() if words and words in (app.name, app.description)]
        if named:
            return go(f"/apps/{named[0].id}")
        try:
            return go(f"/functions/{await self._parts.explanations.id_of(words, '')}")
        except FreeholdError as error:
            msg = f"Nothing is called {words!r} here. Search for an id, the name of an app, or app.function."
            raise NotFound(msg) from error

    async def _path_of(self, subject: str) -> str | None:
        for prefix, folder in _PAGES.items():
            if is_id(subject, prefix):
                return f"/{folder}/{subject}"
        for prefix, folder in _LISTS.items():
            if is_id(subject, prefix):
                return f"/{folder}#{subject}"
        if is_id(subject, "cs"):
            return f"/functions/{await self._parts.functions.of_class(ClassId(subject))}"
        if is_id(subject, "in") and (call := await self._parts.records.call_of(InputId(subject))) is not None:
            return f"/calls/{call.record.id}#{subject}"
        return None


def _as_json(story: Story) -> dict[str, Any]:
    events = [{"at": event.at.isoformat(), "kind": event.kind, "cause": event.cause, **event.fields} for event in story.events]
    return {
        "title": story.title,
        "facts": dict(story.facts),
        "links": dict(story.links),
        "sentences": list(story.sentences),
        "events": events,
    }


def front_routes() -> list[Route]:
    """At the bare host's own root: where people and the client's links come in."""

    async def index(_: Request) -> Response:
        return RedirectResponse(f"{ROOT}/", 303)

    async def of_id(request: Request) -> Response:
        return go(f"/id/{request.path_params['subject']}")

    return [Route("/", index), Route("/id/{subject}", of_id)]
