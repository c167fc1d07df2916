"""Events in memory."""

import itertools
from collections.abc import Sequence
from datetime import datetime

from freehold.observability.events import Event
from freehold.store.memory.rows import Rows, Undo


class Events:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[int, Event] = Rows(undo)
        self._numbers = itertools.count()

    async def add(self, events: Sequence[Event]) -> None:
        for event in events:
            self._rows.put(next(self._numbers), event)

    async def of(self, subject: str, limit: int = 1000) -> Sequence[Event]:
        return [row for row in self._rows if row.subject == subject][:limit]

    async def latest(self, subject: str, limit: int) -> Sequence[Event]:
        return [row for row in self._rows if row.subject == subject][-limit:]

    async def delete_before(self, moment: datetime, most: int) -> int:
        first = sorted(self._rows.items(), key=lambda row: row[0])[:most]
        old = [number for number, event in first if event.at < moment]
        for number in old:
            self._rows.drop(number)
        return len(old)
