"""The story of one id: what it is, and what happened to it, for the page that the client's links lead to."""

from collections.abc import Iterable, Sequence

from freehold.control.services.apps import Apps
from freehold.control.services.call_events import events_of
from freehold.control.services.call_records import CallRecords
from freehold.control.services.explanations import Explanations
from freehold.control.services.functions import Functions
from freehold.control.services.journal import Journal
from freehold.domain.errors import NotFound
from freehold.domain.ids import AppId, CallId, FunctionId, InputId, is_id
from freehold.observability.events import Event, Story
from freehold.store.ports import Store

_EVENTS = 1000  # of an id that has more, the last ones: a schedule may add one every second
_EXPLAINED = ("fu", "fc", "in", "ta")


class Stories:
    def __init__(
        self, *, store: Store, apps: Apps, functions: Functions, explanations: Explanations, records: CallRecords, journal: Journal
    ) -> None:
        self._store = store
        self._apps = apps
        self._functions = functions
        self._explanations = explanations
        self._records = records
        self._journal = journal

    async def of(self, subject: str) -> Story:
        """Raises NotFound when nothing is known of this id."""
        events = await self.events(subject, _EVENTS)
        if is_id(subject, "ap"):
            return await self._of_app(AppId(subject), events)
        if any(is_id(subject, prefix) for prefix in _EXPLAINED):
            explanation = await self._explanations.of(subject)
            facts = {name: str(value) for name, value in explanation.numbers.items()}
            events = await self._with_tries(subject, events)
            return Story(title=subject, facts=facts, links={}, events=events, sentences=explanation.sentences)
        if not events:
            msg = f"Nothing is known here of {subject!r}."
            raise NotFound(msg)
        return Story(title=subject, facts={}, links={}, events=events)

    async def events(self, subject: str, limit: int) -> Sequence[Event]:
        """The last so many, oldest first; none where nothing is known of it."""
        await self._journal.flush()
        async with self._store.transaction() as tx:
            return await tx.events.latest(subject, limit)

    async def _with_tries(self, subject: str, events: Sequence[Event]) -> Sequence[Event]:
        """Of a call or an input, with what is known of its call without events."""
        if is_id(subject, "fc"):
            call = await self._records.find(CallId(subject))
        else:
            call = await self._records.call_of(InputId(subject)) if is_id(subject, "in") else None
        told = events_of(call) if call is not None else []
        return sorted([*events, *told], key=lambda event: event.at) if told else events

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
