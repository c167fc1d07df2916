"""Calls in memory."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from freehold.domain.calls import Attempt, FunctionCall, StoredInput, StoredResult, Tally
from freehold.domain.ids import AppId, CallId, FunctionId, InputId
from freehold.store.memory.rows import Rows, Undo, page
from freehold.store.ports import Place


class Calls:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[str, FunctionCall] = Rows(undo)
        self._inputs: Rows[str, StoredInput] = Rows(undo)
        self._attempts: Rows[tuple[str, int], Attempt] = Rows(undo)

    async def write(
        self, *, calls: Sequence[FunctionCall] = (), inputs: Sequence[StoredInput] = (), results: Sequence[StoredResult] = ()
    ) -> Collection[InputId]:
        for call in calls:
            self._rows.put(call.id, call)
        for item in inputs:
            self._inputs.put(item.id, item)
        return {each.input_id for each in results if self._record(each)}

    async def find(self, call_id: CallId) -> FunctionCall | None:
        return self._rows.get(call_id)

    async def of_ids(self, call_ids: Collection[CallId]) -> Sequence[FunctionCall]:
        return [call for call in self._rows if call.id in call_ids]

    async def find_by_request(self, request_key: str) -> FunctionCall | None:
        return next((call for call in self._rows if request_key and call.request_key == request_key), None)

    async def children(self, parent_input_ids: Sequence[str]) -> Sequence[FunctionCall]:
        found = (call for call in self._rows if call.parent_input_id and call.parent_input_id in parent_input_ids)
        return sorted(found, key=lambda call: (call.created_at, call.id))

    async def recent(self, function_ids: Sequence[FunctionId], since: datetime, until: datetime, limit: int) -> Sequence[FunctionCall]:
        found = (call for call in self._rows if call.function_id in function_ids and since <= call.created_at < until)
        return sorted(found, key=lambda call: (call.created_at, call.id), reverse=True)[:limit]

    async def inputs(self, call_id: CallId) -> Sequence[StoredInput]:
        return sorted((row for row in self._inputs if row.call_id == call_id), key=lambda row: row.idx)

    async def tallies(self, call_ids: Sequence[CallId]) -> Mapping[CallId, Tally]:
        return {call_id: _tally(rows) for call_id in call_ids if (rows := await self.inputs(call_id))}

    async def outline(self, call_ids: Sequence[CallId], most: int) -> Sequence[StoredInput]:
        found = (_outlined(row) for row in self._inputs if row.call_id in call_ids and row.idx < most)
        return sorted(found, key=lambda row: (row.call_id, row.idx))

    async def worth_a_look(self, call_id: CallId, start: int, limit: int) -> Sequence[StoredInput]:
        rest = [_outlined(row) for row in await self.inputs(call_id) if row.idx >= start]
        failed = [row for row in rest if (row.status or 0) > 1]
        unfinished = [row for row in rest if row.finished_at is None]
        return [*failed[:limit], *unfinished[:limit]]

    async def contents(self, input_ids: Sequence[InputId]) -> Sequence[StoredInput]:
        return [row for row in self._inputs if row.id in input_ids]

    async def latest(self, before: Place | None, limit: int, *, function_id: FunctionId | None = None) -> Sequence[FunctionCall]:
        found = (call for call in self._rows if function_id in (None, call.function_id))
        return page(found, lambda call: (call.created_at, call.id), before, limit)

    async def failures(self, app_id: AppId | None, limit: int) -> Sequence[StoredInput]:
        calls = {call.id for call in self._rows if app_id in (None, call.app_id)}
        found = [_outlined(row) for row in self._inputs if (row.status or 0) > 1 and row.call_id in calls]
        return sorted(found, key=lambda row: row.finished_at or row.created_at, reverse=True)[:limit]

    async def call_of(self, input_id: InputId) -> CallId | None:
        found = self._inputs.get(input_id)
        return found.call_id if found else None

    def _record(self, each: StoredResult) -> bool:
        found = self._inputs.get(each.input_id)
        if found is None or found.result is not None:
            return False
        self._inputs.put(each.input_id, replace(found, result=each.result, status=each.status, finished_at=each.finished_at))
        return True

    async def set_attempt(self, input_id: InputId, attempt: int) -> None:
        if (found := self._inputs.get(input_id)) is not None:
            self._inputs.put(input_id, replace(found, attempt=attempt))

    async def put_attempts(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            self._attempts.put((attempt.input_id, attempt.number), attempt)

    async def attempts_of(self, input_ids: Sequence[InputId]) -> Sequence[Attempt]:
        found = (attempt for attempt in self._attempts if attempt.input_id in input_ids)
        return sorted(found, key=lambda attempt: (attempt.started_at, attempt.input_id, attempt.number))

    async def last_attempts(self) -> Sequence[Attempt]:
        newest = {attempt.input_id: attempt for attempt in sorted(self._attempts, key=lambda attempt: attempt.number)}
        waiting = {row.id for row in self._inputs if row.result is None}
        return [attempt for input_id, attempt in sorted(newest.items()) if input_id in waiting]

    async def unfinished(self) -> Sequence[tuple[FunctionCall, Sequence[StoredInput]]]:
        calls = sorted(self._rows, key=lambda call: (call.created_at, call.id))
        pairs = [(call, [row for row in await self.inputs(call.id) if row.result is None]) for call in calls]
        return [(call, inputs) for call, inputs in pairs if inputs]

    async def delete_finished_before(self, moment: datetime) -> int:
        old = [call for call in self._rows if call.created_at < moment]
        finished = [call for call in old if all(_finished_before(row, moment) for row in await self.inputs(call.id))]
        for call in finished:
            self._rows.drop(call.id)
            for row in await self.inputs(call.id):
                self._inputs.drop(row.id)
        for attempt in [attempt for attempt in self._attempts if attempt.started_at < moment]:
            if self._rows.get(attempt.call_id) is None:
                self._attempts.drop((attempt.input_id, attempt.number))
        return len(finished)

    async def page(self, after: str, limit: int) -> Sequence[StoredInput]:
        return sorted((row for row in self._inputs if row.id > after), key=lambda row: row.id)[:limit]


def _outlined(row: StoredInput) -> StoredInput:
    return replace(row, payload=b"", result=None)


def _tally(rows: Sequence[StoredInput]) -> Tally:
    ends = [row.finished_at for row in rows if row.finished_at is not None]
    by_status = Counter(row.status or 0 for row in rows if row.finished_at is not None)
    return Tally(by_status=by_status, unfinished=len(rows) - len(ends), ended_at=max(ends, default=None))


def _finished_before(row: StoredInput, moment: datetime) -> bool:
    return row.finished_at is not None and row.finished_at < moment
