"""Logs as clients read them: by app, from a place on, waiting for more."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from freehold.control.services.tasks import Tasks
from freehold.control.wakeups import Wakeup
from freehold.domain.clock import Clock
from freehold.domain.ids import TaskId
from freehold.domain.logs import LogEntry
from freehold.store.logs import LogStore, Numbered

_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Empty fields match everything. Times are seconds since the epoch."""

    since: float = 0.0
    until: float = float("inf")
    source: int = 0
    task_id: str = ""
    function_id: str = ""
    call_id: str = ""
    search: str = ""

    def matches(self, entry: LogEntry) -> bool:
        return (
            self.since <= entry.at < self.until
            and (not self.source or self.source == entry.source)
            and (not self.task_id or self.task_id == entry.task_id)
            and (not self.function_id or self.function_id == entry.function_id)
            and (not self.call_id or self.call_id == entry.call_id)
            and (not self.search or self.search in entry.text)
        )


class Logs:
    def __init__(self, *, store: LogStore, tasks: Tasks, clock: Clock) -> None:
        self._store = store
        self._tasks = tasks
        self._clock = clock
        self._changed: defaultdict[str, Wakeup] = defaultdict(Wakeup)
        self._done: set[str] = set()

    def task_logged(self, task_id: TaskId, entries: Sequence[LogEntry]) -> None:
        """Output of a task, told apart by input as far as one can: a task that runs one input at a time speaks for that."""
        live = self._tasks.find(task_id)
        if live is None:
            return
        inputs = list(live.running.values())
        only = inputs[0] if len(inputs) == 1 else None
        self.append(
            live.task.app_id,
            [
                replace(
                    entry,
                    task_id=task_id,
                    function_id=live.task.function_id,
                    input_id=only.id if only else "",
                    call_id=only.call.id if only else "",
                )
                for entry in entries
            ],
        )

    def append(self, subject: str, entries: Sequence[LogEntry]) -> None:
        self._store.append(subject, entries)
        self._changed[subject].notify()

    def mark_done(self, subject: str) -> None:
        """Nothing more will be written: those who follow are told so. Known in memory only; after a restart, whoever knows says it again."""
        self._done.add(subject)
        self._store.release(subject)
        self._changed.pop(subject, Wakeup()).notify()

    def is_done(self, subject: str) -> bool:
        return subject in self._done

    async def follow(self, subject: str, after: int, seconds: float) -> AsyncIterator[list[Numbered]]:
        """Pages of entries after a number, as they come, until the log is done or, after that many seconds, nothing more is there."""
        deadline = self._clock.monotonic() + seconds
        while True:
            changed = self._changed[subject]
            generation = changed.generation
            page = await self._page(subject, after)
            if page:
                after = page[-1].number
                yield page
                continue
            if subject in self._done:
                return
            if not await changed.wait(generation, deadline - self._clock.monotonic()):
                return

    async def _page(self, subject: str, after: int) -> list[Numbered]:
        page = self._store.recent(subject, after, _PAGE)
        return await asyncio.to_thread(self._store.after, subject, after, _PAGE) if page is None else page

    async def fetch(self, subject: str, wanted: LogFilter, limit: int) -> list[Numbered]:
        """The newest `limit` entries that match, oldest first."""
        return await asyncio.to_thread(self._newest, subject, wanted, limit)

    def _newest(self, subject: str, wanted: LogFilter, limit: int) -> list[Numbered]:
        found = self._store.matching(subject, lambda item: wanted.matches(item.entry), limit=10_000_000)
        return found[-limit:] if limit else found
