"""What there is, page by page, for those who look rather than ask: apps, containers, calls, images, and what failed last."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Generic, TypeVar

from modal_proto import api_pb2

from freehold.control.services.call_history import PastCall, PastInput
from freehold.control.services.call_records import CallRecords, past_input
from freehold.control.services.journal import Journal
from freehold.domain.apps import App
from freehold.domain.calls import FunctionCall
from freehold.domain.errors import NotFound
from freehold.domain.functions import Function
from freehold.domain.ids import AppId, CallId, FunctionId
from freehold.domain.images import Image
from freehold.domain.tasks import Task
from freehold.store.ports import Place, Store

T = TypeVar("T")

PAGE = 50
_SUCCESS = api_pb2.GenericResult.GENERIC_STATUS_SUCCESS


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`after` is where the next page begins; None at the end."""

    items: Sequence[T]
    after: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An input that ended without success."""

    call_id: CallId
    function_id: FunctionId
    app_id: AppId
    item: PastInput

    @property
    def at(self) -> datetime | None:
        return self.item.finished_at


class Listings:
    def __init__(self, *, store: Store, records: CallRecords, journal: Journal) -> None:
        self._store = store
        self._records = records
        self._journal = journal

    async def live_apps(self) -> Sequence[App]:
        async with self._store.transaction() as tx:
            return await tx.apps.list_live()

    async def stopped_apps(self, before: Place | None) -> Page[App]:
        async with self._store.transaction() as tx:
            found = await tx.apps.stopped(before, PAGE)
        return Page(found, (found[-1].created_at, found[-1].id) if len(found) == PAGE else None)

    async def tasks(
        self, before: Place | None, *, app_id: AppId | None = None, function_ids: Collection[FunctionId] = (), limit: int = PAGE
    ) -> Page[Task]:
        await self._journal.flush()
        async with self._store.transaction() as tx:
            found = await tx.tasks.page(before, limit, app_id=app_id, function_ids=function_ids)
        return Page(found, (found[-1].enqueued_at, found[-1].id) if len(found) == limit else None)

    async def images(self, before: Place | None) -> Page[Image]:
        async with self._store.transaction() as tx:
            found = await tx.images.page(before, PAGE)
        return Page(found, (found[-1].created_at, found[-1].id) if len(found) == PAGE else None)

    async def calls(self, before: Place | None, *, function_ids: Collection[FunctionId] = ()) -> Page[PastCall]:
        """Of these functions, or of all, newest first: asynchronous ones from disk, and among them the synchronous ones that memory knows; each
        with the tally of its inputs alone.
        """
        await self._journal.flush()
        async with self._store.transaction() as tx:
            # One index each: asked for together, all calls of all of them would be sorted.
            rows = [row for one in function_ids or (None,) for row in await tx.calls.latest(before, PAGE, function_id=one)]
            newest = sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)[:PAGE]
            durable = await self._records.past(tx, newest, 0)
        wanted = (call for call in self._records.synchronous(0) if not function_ids or call.record.function_id in function_ids)
        recent = [call for call in wanted if before is None or _place(call) < before]
        found = sorted([*durable, *recent], key=_place, reverse=True)[:PAGE]
        return Page(found, _place(found[-1]) if len(found) == PAGE else None)

    async def failures(self, app_id: AppId | None = None, limit: int = 20) -> Sequence[Failure]:
        """The last ones first, of an app or of all."""
        async with self._store.transaction() as tx:
            rows = await tx.calls.failures(app_id, limit)
            calls = {call.id: call for call in await tx.calls.of_ids({row.call_id for row in rows})}
        durable = [_failure(calls[row.call_id], past_input(row)) for row in rows]
        synchronous = (
            _failure(call.record, item)
            for call in self._records.synchronous()
            if app_id in (None, call.record.app_id)
            for item in call.inputs
            if item.status not in (0, _SUCCESS)
        )
        return sorted([*durable, *islice(synchronous, limit)], key=_ended_at, reverse=True)[:limit]

    async def function(self, function_id: FunctionId) -> Function:
        """Also of an app that has stopped. Raises NotFound."""
        async with self._store.transaction() as tx:
            return await tx.functions.get(function_id)

    async def app_names(self, app_ids: Iterable[AppId]) -> Mapping[AppId, str]:
        async with self._store.transaction() as tx:
            apps = [await tx.apps.get(app_id) for app_id in set(app_ids)]
        return {app.id: app.name or app.description for app in apps}

    async def tags(self, function_ids: Iterable[FunctionId]) -> Mapping[FunctionId, str]:
        """Names by which people know functions, of those that there are."""
        async with self._store.transaction() as tx:
            found = {}
            for function_id in set(function_ids):
                with suppress(NotFound):
                    found[function_id] = (await tx.functions.get(function_id)).tag.removesuffix(".*")
        return found


def _place(call: PastCall) -> Place:
    return call.record.created_at, call.record.id


def _failure(call: FunctionCall, item: PastInput) -> Failure:
    return Failure(call_id=call.id, function_id=call.function_id, app_id=call.app_id, item=item)


def _ended_at(failure: Failure) -> float:
    return failure.at.timestamp() if failure.at else 0.0
