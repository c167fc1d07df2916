"""Asynchronous calls and their inputs in SQL."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Row, delete, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.domain.calls import CallKind, FunctionCall, Invocation, StoredInput
from freehold.domain.ids import CallId, InputId
from freehold.store.sql import statements, tables

_calls = tables.calls
_inputs = tables.inputs


class SqlCalls:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def put(self, call: FunctionCall) -> None:
        await statements.put(self._connection, _calls, _call_row(call))

    async def find(self, call_id: CallId) -> FunctionCall | None:
        row = await statements.one(self._connection, select(_calls).where(_calls.c.id == call_id))
        return _call(row) if row else None

    async def add_inputs(self, inputs: Sequence[StoredInput]) -> None:
        await statements.put_all(self._connection, _inputs, [_input_row(item) for item in inputs])

    async def inputs(self, call_id: CallId) -> Sequence[StoredInput]:
        query = select(_inputs).where(_inputs.c.call_id == call_id).order_by(_inputs.c.idx)
        return [_input(row) for row in await self._connection.execute(query)]

    async def record_result(self, input_id: InputId, result: bytes, at: datetime) -> bool:
        unfinished = update(_inputs).where(_inputs.c.id == input_id, _inputs.c.finished_at.is_(None))
        changed = await self._connection.execute(unfinished.values(result=result, finished_at=at))
        return changed.rowcount == 1

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
        return gone.rowcount

    async def page(self, after: str, limit: int) -> Sequence[StoredInput]:
        query = select(_inputs).where(_inputs.c.id > after).order_by(_inputs.c.id).limit(limit)
        return [_input(row) for row in await self._connection.execute(query)]


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
    )
