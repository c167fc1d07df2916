"""Events in SQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select

from freehold.observability.events import Event
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import events

_INSERT = insert(events)


class SqlEvents:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, events: Sequence[Event]) -> None:
        if events:
            await self._connection.execute(_INSERT, [_row(event) for event in events])

    async def of(self, subject: str, limit: int = 1000) -> Sequence[Event]:
        query = select(events).where(events.c.subject == subject).order_by(events.c.number).limit(limit)
        return [_event(row) for row in await self._connection.execute(query)]

    async def latest(self, subject: str, limit: int) -> Sequence[Event]:
        query = select(events).where(events.c.subject == subject).order_by(events.c.number.desc()).limit(limit)
        return [_event(row) for row in reversed((await self._connection.execute(query)).rows)]

    async def delete_before(self, moment: datetime, most: int) -> int:
        # They are added in the order of their times, so the oldest need no index of their own.
        first = select(events.c.number).order_by(events.c.number).limit(most)
        gone = await self._connection.execute(delete(events).where(events.c.number.in_(first), events.c.at < moment))
        return gone.rowcount


def _event(row: Row[Any]) -> Event:
    return Event(subject=row.subject, at=row.at, kind=row.kind, cause=row.cause, fields=row.fields)


def _row(event: Event) -> dict[str, object]:
    return {
        "subject": event.subject,
        "at": event.at,
        "kind": event.kind,
        "cause": event.cause,
        "fields": dict(event.fields),
    }
