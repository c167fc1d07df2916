"""The story of one id: what it is, and what happened to it, for the page that the client's links lead to."""

from collections.abc import Iterable, Sequence

from freehold.control.services.apps import Apps
from freehold.control.services.explanations import Explanations
from freehold.control.services.functions import Functions
from freehold.control.services.journal import Journal
from freehold.domain.errors import NotFound
from freehold.domain.ids import AppId, FunctionId, is_id
from freehold.observability.events import Event, Story
from freehold.store.ports import Store

_EVENTS = 1000  # of an id that has more, the last ones: a schedule may add one every second
_EXPLAINED = ("fu", "fc", "in", "ta")


class Stories:
    def __init__(self, *, store: Store, apps: Apps, functions: Functions, explanations: Explanations, journal: Journal) -> None:
        self._store = store
        self._apps = apps
        self._functions = functions
        self._explanations = explanations
        self._journal = journal

    async def of(self, subject: str) -> Story:
        """Raises NotFound when nothing is known of this id."""
        await self._journal.flush()
        async with self._store.transaction() as tx:
            events = await tx.events.latest(subject, _EVENTS)
        if is_id(subject, "ap"):
            return await self._of_app(AppId(subject), events)
        if any(is_id(subject, prefix) for prefix in _EXPLAINED):
            explanation = await self._explanations.of(subject)
            facts = {name: str(value) for name, value in explanation.numbers.items()}
            return Story(title=subject, facts=facts, links={}, events=events, sentences=explanation.sentences)
        if not events:
            msg = f"Nothing is known here of {subject!r}."
            raise NotFound(msg)
        return Story(title=subject, facts={}, links={}, events=events)

    async def _of_app(self, app_id: AppId, events: Sequence[Event]) -> Story:
        app = await self._apps.get(app_id)
        layout = await self._apps.layout(app_id)
        facts = {"id": app.id, "state": app.state, "environment": app.environment, "version": str(app.version)}
        functions = {"functions": ", ".join(sorted(layout.function_ids)) or "none"}
        links = await self._links(layout.function_ids.values()) if app.is_live else {}
        return Story(title=app.name or app.description or app.id, facts=facts | functions, links=links, events=events)

    async def _links(self, function_ids: Iterable[FunctionId]) -> dict[str, str]:
        functions = [await self._functions.live(function_id) for function_id in function_ids]
        return {
            f"{live.function.tag.removesuffix('.*')}{'.' + method if method else ''}": url
            for live in functions
            for method, url in live.web_urls.items()
        }
