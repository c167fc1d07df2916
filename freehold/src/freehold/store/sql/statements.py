"""What the aggregates share: inserting or replacing a row, and asking for one."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Column, Row, Select, Table, tuple_
from sqlalchemy.dialects.sqlite import Insert, insert

from freehold.domain.errors import NotFound
from freehold.store.sql.connection import Connection


async def put(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Insert the row, or replace the one with its primary key."""
    await connection.execute(upsert(table), row)


async def put_all(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        await connection.execute(upsert(table), rows)


async def one(connection: Connection, query: Select[Any]) -> Row[Any] | None:
    """The first row."""
    row: Row[Any] | None = (await connection.execute(query.limit(1))).first()
    return row


async def required(connection: Connection, query: Select[Any], error: NotFound) -> Row[Any]:
    """The first row; the error where there is none."""
    row = await one(connection, query)
    if row is None:
        raise error
    return row


def page(query: Select[Any], at: Column[datetime], id_: Column[str], before: tuple[datetime, str] | None, limit: int) -> Select[Any]:
    """Newest first, from the row after the one with this time and id on."""
    if before is not None:
        query = query.where(at <= before[0], tuple_(at, id_) < before)
    return query.order_by(at.desc(), id_.desc()).limit(limit)


@cache
def upsert(table: Table) -> Insert:
    """Inserts rows, or replaces those with their primary keys."""
    new = insert(table)
    others = {column.name: new.excluded[column.name] for column in table.columns if not column.primary_key}
    return new.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=others)
