"""Asynchronous calls and their inputs in SQL."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import sqlalchemy
from sqlalchemy import Row, Select, bindparam, delete, exists, func, literal, literal_column, null, or_, select, update

from freehold.domain.calls import Attempt, CallKind, FunctionCall, Invocation, StoredInput, StoredResult, Tally
from freehold.domain.ids import AppId, CallId, FunctionId, InputId
from freehold.domain.trace_contexts import read_traceparent
from freehold.store.ports import Place
from freehold.store.sql import statements, tables
from freehold.store.sql.connection import Connection

_calls = tables.calls
_inputs = tables.inputs
_attempts = tables.attempts
_HAS_FAILED = _inputs.c.status > literal_column("1")  # `GenericStatus` of success. Literally, so that the partial indexes serve
_LOOK_AT = 1000  # failures of all apps that are searched for those of one
_ASKED = 1000  # ids in one statement
# Made once: to make a statement takes as long as to execute it.
_UNFINISHED = select(_inputs.c.id).where(_inputs.c.id.in_(bindparam("input_ids", expanding=True)), _inputs.c.finished_at.is_(None))
_RECORD = (
    update(_inputs)
    .where(_inputs.c.id == bindparam("input_id"))
    .values(result=bindparam("result"), status=bindparam("status"), finished_at=bindparam("finished_at"))
)


class SqlCalls:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def write(
        self, *, calls: Sequence[FunctionCall] = (), inputs: Sequence[StoredInput] = (), results: Sequence[StoredResult] = ()
    ) -> Collection[InputId]:
        return await self._connection.run(lambda connection: _write(connection, calls, inputs, results))

    async def find(self, call_id: CallId) -> FunctionCall | None:
        row = await statements.one(self._connection, select(_calls).where(_calls.c.id == call_id))
        return _call(row) if row else None

    async def of_ids(self, call_ids: Collection[CallId]) -> Sequence[FunctionCall]:
        return [_call(row) for row in await self._connection.execute(select(_calls).where(_calls.c.id.in_(call_ids)))]

    async def find_by_request(self, request_key: str) -> FunctionCall | None:
        made = (_calls.c.request_key == request_key) & (_calls.c.request_key != "")  # the second lets the partial index serve
        row = await statements.one(self._connection, select(_calls).where(made))
        return _call(row) if row else None

    async def children(self, parent_input_ids: Sequence[str]) -> Sequence[FunctionCall]:
        query = select(_calls).where(_calls.c.parent_input_id.in_(parent_input_ids), _calls.c.parent_input_id != "")
        return [_call(row) for row in await self._connection.execute(query.order_by(_calls.c.created_at, _calls.c.id))]

    async def recent(self, function_ids: Sequence[FunctionId], since: datetime, until: datetime, limit: int) -> Sequence[FunctionCall]:
        made = _calls.c.function_id.in_(function_ids) & (_calls.c.created_at >= since) & (_calls.c.created_at < until)
        query = select(_calls).where(made).order_by(_calls.c.created_at.desc(), _calls.c.id.desc()).limit(limit)
        return [_call(row) for row in await self._connection.execute(query)]

    async def inputs(self, call_id: CallId) -> Sequence[StoredInput]:
        query = select(_inputs).where(_inputs.c.call_id == call_id).order_by(_inputs.c.idx)
        return [_input(row) for row in await self._connection.execute(query)]

    async def contents(self, input_ids: Sequence[InputId]) -> Sequence[StoredInput]:
        return [_input(row) for row in await self._connection.execute(select(_inputs).where(_inputs.c.id.in_(input_ids)))]

    async def latest(self, before: Place | None, limit: int, *, function_id: FunctionId | None = None) -> Sequence[FunctionCall]:
        query = select(_calls) if function_id is None else select(_calls).where(_calls.c.function_id == function_id)
        page = statements.page(query, _calls.c.created_at, _calls.c.id, before, limit)
        return [_call(row) for row in await self._connection.execute(page)]

    async def failures(self, app_id: AppId | None, limit: int) -> Sequence[StoredInput]:
        last = _outlined().where(_HAS_FAILED).order_by(_inputs.c.finished_at.desc()).limit(_LOOK_AT).subquery()
        query = select(last).join(_calls, _calls.c.id == last.c.call_id)
        if app_id is not None:
            query = query.where(_calls.c.app_id == app_id)
        return [_input(row) for row in await self._connection.execute(query.order_by(last.c.finished_at.desc()).limit(limit))]

    async def tallies(self, call_ids: Sequence[CallId]) -> Mapping[CallId, Tally]:
        """Each of the three counts is of entries of an index: no input is read for it."""
        call_id, ended_at = _inputs.c.call_id, _inputs.c.finished_at
        of_these = call_id.in_(call_ids)
        finished = select(call_id, func.count().label("many"), func.max(ended_at).label("ended_at")).where(of_these, ended_at.is_not(None))
        unfinished = select(call_id, func.count().label("many")).where(of_these, ended_at.is_(None))
        failed = select(call_id, _inputs.c.status, func.count().label("many")).where(of_these, _HAS_FAILED)
        by_status: dict[CallId, dict[int, int]] = defaultdict(dict)
        for row in await self._connection.execute(failed.group_by(call_id, _inputs.c.status)):
            by_status[row.call_id][row.status] = row.many
        open_ = {row.call_id: row.many for row in await self._connection.execute(unfinished.group_by(call_id))}
        ended = {row.call_id: row for row in await self._connection.execute(finished.group_by(call_id))}
        return {one: _tally(ended.get(one), by_status[one], open_.get(one, 0)) for one in call_ids if one in ended or one in open_}

    async def outline(self, call_ids: Sequence[CallId], most: int) -> Sequence[StoredInput]:
        query = _outlined().where(_inputs.c.call_id.in_(call_ids), _inputs.c.idx < most)
        return [_input(row) for row in await self._connection.execute(query.order_by(_inputs.c.call_id, _inputs.c.idx))]

    async def worth_a_look(self, call_id: CallId, start: int, limit: int) -> Sequence[StoredInput]:
        # With a plus, so that the partial indexes serve: in the order of idx, all that succeeded would be passed over one by one.
        rest = _outlined().where(_inputs.c.call_id == call_id, literal_column("+inputs.idx") >= start).limit(limit)
        failed = rest.where(_HAS_FAILED).order_by(_inputs.c.idx)
        unfinished = rest.where(_inputs.c.finished_at.is_(None)).order_by(literal_column("inputs.rowid"))
        return [_input(row) for query in (failed, unfinished) for row in await self._connection.execute(query)]

    async def call_of(self, input_id: InputId) -> CallId | None:
        row = await statements.one(self._connection, select(_inputs.c.call_id).where(_inputs.c.id == input_id))
        return CallId(row.call_id) if row else None

    async def set_attempt(self, input_id: InputId, attempt: int) -> None:
        await self._connection.execute(update(_inputs).where(_inputs.c.id == input_id).values(attempt=attempt))

    async def put_attempts(self, attempts: Sequence[Attempt]) -> None:
        await statements.put_all(self._connection, _attempts, [_attempt_row(attempt) for attempt in attempts])

    async def attempts_of(self, input_ids: Sequence[InputId]) -> Sequence[Attempt]:
        query = select(_attempts).where(_attempts.c.input_id.in_(input_ids))
        rows = await self._connection.execute(query.order_by(_attempts.c.started_at, _attempts.c.input_id, _attempts.c.number))
        return [_attempt(row) for row in rows]

    async def last_attempts(self) -> Sequence[Attempt]:
        newest = (
            select(_attempts.c.input_id, func.max(_attempts.c.number).label("number"))
            .join(_inputs, _inputs.c.id == _attempts.c.input_id)
            .where(_inputs.c.finished_at.is_(None))
            .group_by(_attempts.c.input_id)
            .subquery()
        )
        is_newest = (_attempts.c.input_id == newest.c.input_id) & (_attempts.c.number == newest.c.number)
        query = select(_attempts).join(newest, is_newest).order_by(_attempts.c.input_id)
        return [_attempt(row) for row in await self._connection.execute(query)]

    async def unfinished(self) -> Sequence[tuple[FunctionCall, Sequence[StoredInput]]]:
        waiting = select(_inputs).join(_calls).where(_inputs.c.finished_at.is_(None))
        rows = await self._connection.execute(waiting.order_by(_calls.c.created_at, _calls.c.id, _inputs.c.idx))
        of_call = {call_id: [_input(row) for row in group] for call_id, group in groupby(rows, lambda row: row.call_id)}
        query = select(_calls).where(exists().where(_inputs.c.call_id == _calls.c.id, _inputs.c.finished_at.is_(None)))
        found = {row.id: _call(row) for row in await self._connection.execute(query)}
        return [(found[call_id], items) for call_id, items in of_call.items()]

    async def delete_finished_before(self, moment: datetime) -> int:
        still_needed = or_(_inputs.c.finished_at.is_(None), _inputs.c.finished_at >= moment)
        unneeded = ~exists().where(_inputs.c.call_id == _calls.c.id, still_needed)
        gone = await self._connection.execute(delete(_calls).where(_calls.c.created_at < moment, unneeded))
        # Attempts are written beside their call, perhaps before it: no foreign key takes them along.
        orphaned = _attempts.c.call_id.not_in(select(_calls.c.id)) & (_attempts.c.started_at < moment)
        await self._connection.execute(delete(_attempts).where(orphaned))
        return gone.rowcount

    async def page(self, after: str, limit: int) -> Sequence[StoredInput]:
        query = select(_inputs).where(_inputs.c.id > after).order_by(_inputs.c.id).limit(limit)
        return [_input(row) for row in await self._connection.execute(query)]


def _write(
    connection: sqlalchemy.Connection, calls: Sequence[FunctionCall], inputs: Sequence[StoredInput], results: Sequence[StoredResult]
) -> Collection[InputId]:
    if calls:
        connection.execute(statements.upsert(_calls), [_call_row(call) for call in calls])
    if inputs:
        connection.execute(statements.upsert(_inputs), [_input_row(item) for item in inputs])
    missing = _without_result(connection, [each.input_id for each in results])
    first = {each.input_id: each for each in reversed(results) if each.input_id in missing}
    if first:
        connection.execute(_RECORD, [_result_row(each) for each in first.values()])
    return first.keys()


def _without_result(connection: sqlalchemy.Connection, input_ids: Sequence[InputId]) -> Collection[InputId]:
    parts = (input_ids[begin : begin + _ASKED] for begin in range(0, len(input_ids), _ASKED))
    return {InputId(row.id) for part in parts for row in connection.execute(_UNFINISHED, {"input_ids": part})}


def _tally(ended: Row[Any] | None, failed: Mapping[int, int], unfinished: int) -> Tally:
    """`ended` counts those that failed too."""
    if ended is None:
        return Tally(unfinished=unfinished)
    succeeded = ended.many - sum(failed.values())
    return Tally(by_status={**({1: succeeded} if succeeded else {}), **failed}, unfinished=unfinished, ended_at=ended.ended_at)


def _outlined() -> Select[Any]:
    """Inputs without what is large."""
    columns = [column for column in _inputs.c if column.name not in ("payload", "result")]
    return select(*columns, literal(b"").label("payload"), null().label("result"))


def _call_row(call: FunctionCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "function_id": call.function_id,
        "app_id": call.app_id,
        "kind": call.kind.value,
        "invocation": call.invocation.value,
        "created_at": call.created_at,
        "parent_input_id": call.parent_input_id,
        "is_cancelled": call.is_cancelled,
        "request_key": call.request_key,
        "retry_policy": call.retry_policy,
        "origin": str(call.origin or ""),
    }


def _call(row: Row[Any]) -> FunctionCall:
    return FunctionCall(
        id=row.id,
        function_id=row.function_id,
        app_id=row.app_id,
        kind=CallKind(row.kind),
        invocation=Invocation(row.invocation),
        created_at=row.created_at,
        parent_input_id=row.parent_input_id,
        is_cancelled=row.is_cancelled,
        request_key=row.request_key,
        retry_policy=row.retry_policy,
        origin=read_traceparent(row.origin),
    )


def _input_row(item: StoredInput) -> dict[str, Any]:
    return {
        "id": item.id,
        "call_id": item.call_id,
        "idx": item.idx,
        "payload": item.payload,
        "created_at": item.created_at,
        "result": item.result,
        "finished_at": item.finished_at,
        "attempt": item.attempt,
        "status": item.status,
        "method_name": item.method_name,
    }


def _input(row: Row[Any]) -> StoredInput:
    return StoredInput(
        id=row.id,
        call_id=row.call_id,
        idx=row.idx,
        payload=row.payload,
        created_at=row.created_at,
        result=row.result,
        finished_at=row.finished_at,
        attempt=row.attempt,
        status=row.status,
        method_name=row.method_name,
    )


def _result_row(each: StoredResult) -> dict[str, Any]:
    return {"input_id": each.input_id, "result": each.result, "status": each.status, "finished_at": each.finished_at}


def _attempt_row(attempt: Attempt) -> dict[str, Any]:
    return {
        "input_id": attempt.input_id,
        "number": attempt.number,
        "call_id": attempt.call_id,
        "task_id": attempt.task_id,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "outcome": attempt.outcome,
    }


def _attempt(row: Row[Any]) -> Attempt:
    return Attempt(
        input_id=row.input_id,
        number=row.number,
        call_id=row.call_id,
        task_id=row.task_id,
        started_at=row.started_at,
        ended_at=row.ended_at,
        outcome=row.outcome,
    )
