"""What people ask about calls, under way or past: one of them, the recent ones of a function, and who called whom.

Asynchronous calls are on disk for as long as their results. Synchronous ones are in memory: those under way, and the last thousands.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from freehold.control.services.call_history import PastCall, PastInput, glimpse_of, is_running
from freehold.control.services.calls import Calls
from freehold.control.services.journal import Journal
from freehold.domain.calls import Attempt, FunctionCall, StoredInput, Tally
from freehold.domain.errors import NotFound
from freehold.domain.ids import CallId, FunctionId, InputId
from freehold.store.ports import Store, Transaction

_INPUTS = 200  # of a call that are loaded of each kind: a page shows a hundred


class CallRecords:
    def __init__(self, *, store: Store, calls: Calls, journal: Journal) -> None:
        self._store = store
        self._calls = calls
        self._journal = journal

    async def get(self, call_id: CallId) -> PastCall:
        """Raises NotFound."""
        found = await self.find(call_id)
        if found is None:
            msg = f"No function call {call_id}: results are kept for days, synchronous calls only for a while."
            raise NotFound(msg)
        return found

    async def find(self, call_id: CallId) -> PastCall | None:
        live = self._calls.find_live(call_id)
        if live is not None and not live.is_durable:
            return glimpse_of(live, _INPUTS)
        return self._calls.history.find(call_id) or await self._on_disk(call_id)

    async def recent(self, function_ids: Sequence[FunctionId], since: datetime, until: datetime, limit: int) -> list[PastCall]:
        """Calls of these functions made in [since, until), newest first, each with up to so many inputs."""
        await self._journal.flush()
        async with self._store.transaction() as tx:
            durable = await self.past(tx, await tx.calls.recent(function_ids, since, until, limit), limit)
        synchronous = [call for call in self.synchronous(limit) if _is_among(call, function_ids, since, until)]
        return sorted([*durable, *synchronous], key=lambda call: call.record.created_at, reverse=True)[:limit]

    async def graph(self, call_id: CallId, limit: int) -> list[PastCall]:
        """The call, what it was called by up to the first, and all that these called; whole calls, up to so many inputs."""
        root = await self.root(await self.get(call_id))
        return await self._with_children([root], limit - len(root.inputs))

    async def called_by(self, input_id: InputId, limit: int) -> list[PastCall]:
        """What was called while this input ran, or this web request, and all that those called; whole calls, up to so many inputs."""
        return await self._with_children(await self._children([input_id]), limit)

    async def _with_children(self, level: Sequence[PastCall], room: int) -> list[PastCall]:
        found = {call.record.id: call for call in level}
        while level and room > 0:
            children = await self._children([item.id for call in level for item in call.inputs])
            level = [call for call in children if call.record.id not in found]
            found |= {call.record.id: call for call in level}
            room -= sum(len(call.inputs) for call in level)
        return list(found.values())

    async def root(self, call: PastCall) -> PastCall:
        """What it was called by, and so on, up to the first."""
        seen = {call.record.id}  # what clients send as a parent may be anything, a circle too
        while call.record.parent_input_id:
            parent = await self.call_of(InputId(call.record.parent_input_id))
            if parent is None or parent.record.id in seen:
                break
            seen.add(parent.record.id)
            call = parent
        return call

    async def call_of(self, input_id: InputId) -> PastCall | None:
        """The call that this input belongs to; None if it is not known any more."""
        live = self._calls.find_input(input_id)
        if live is not None:
            return await self.find(live.call.id)
        for call in self._calls.history.newest_first():
            if any(item.id == input_id for item in call.inputs):
                return call
        async with self._store.transaction() as tx:
            call_id = await tx.calls.call_of(input_id)
        return _with(await self._on_disk(call_id), await self._input(input_id)) if call_id else None

    async def _children(self, input_ids: Sequence[InputId]) -> list[PastCall]:
        parents = set(input_ids)
        synchronous = [call for call in self.synchronous() if call.record.parent_input_id in parents]
        async with self._store.transaction() as tx:
            return [*synchronous, *await self.past(tx, await tx.calls.children(list(parents)))]

    def synchronous(self, inputs: int = _INPUTS) -> Iterable[PastCall]:
        """Those that memory knows: under way, with up to so many inputs each, in the order of their making, then past ones, the newest first."""
        yield from (glimpse_of(call, inputs) for call in self._calls.live() if not call.is_durable)
        yield from self._calls.history.newest_first()

    async def _on_disk(self, call_id: CallId) -> PastCall | None:
        await self._journal.flush()
        async with self._store.transaction() as tx:
            record = await tx.calls.find(call_id)
            return (await self.past(tx, [record]))[0] if record else None

    async def past(self, tx: Transaction, records: Sequence[FunctionCall], inputs: int = _INPUTS) -> list[PastCall]:
        """Each with its first so many inputs, and of those behind them as many that failed or have no result."""
        call_ids = [record.id for record in records]
        tallies = await tx.calls.tallies(call_ids)
        found = [*await tx.calls.outline(call_ids, inputs)] if inputs else []
        for call_id in call_ids if inputs else ():
            if call_id in tallies and tallies[call_id].total > inputs:
                found += await tx.calls.worth_a_look(call_id, inputs, inputs)
        of_call = await _with_tries(tx, found)
        return [
            PastCall(
                record=record,
                inputs=tuple(of_call[record.id]),
                counted=tallies.get(record.id),
                has_running=self._has_running(record.id, tallies.get(record.id)),
            )
            for record in records
        ]

    def _has_running(self, call_id: CallId, tally: Tally | None) -> bool:
        live = self._calls.find_live(call_id) if tally is not None and tally.unfinished else None
        return live is not None and is_running(live)

    async def _input(self, input_id: InputId) -> PastInput | None:
        async with self._store.transaction() as tx:
            stored = await tx.calls.contents([input_id])
            return next(iter((await _with_tries(tx, stored))[stored[0].call_id])) if stored else None


def _is_among(call: PastCall, function_ids: Sequence[FunctionId], since: datetime, until: datetime) -> bool:
    return call.record.function_id in function_ids and since <= call.record.created_at < until


async def _with_tries(tx: Transaction, items: Sequence[StoredInput]) -> Mapping[CallId, list[PastInput]]:
    tries: dict[InputId, list[Attempt]] = defaultdict(list)
    for attempt in await tx.calls.attempts_of([item.id for item in items]):
        tries[attempt.input_id].append(attempt)
    of_call: dict[CallId, list[PastInput]] = defaultdict(list)
    for item in items:
        of_call[item.call_id].append(past_input(item, tries[item.id]))
    return of_call


def _with(call: PastCall | None, item: PastInput | None) -> PastCall | None:
    """The call with this input of it among those that it is shown with."""
    if call is None or item is None or any(one.id == item.id for one in call.inputs):
        return call
    return replace(call, inputs=(*call.inputs, item))


def past_input(item: StoredInput, tries: Sequence[Attempt] = ()) -> PastInput:
    if item.status and tries and tries[-1].ended_at is None:  # the one that gave the result ended with it, and was not noted for itself
        tries = [*tries[:-1], replace(tries[-1], ended_at=item.finished_at)]
    return PastInput(
        id=item.id, idx=item.idx, status=item.status or 0, method_name=item.method_name, tries=tuple(tries), finished_at=item.finished_at
    )
