"""Logs as clients read them: by app, from a place on, waiting for more, or by time and filter. And whose output a container's is."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from freehold.control.services.tasks import Author, LiveTask, Tasks
from freehold.control.wakeups import Wakeup
from freehold.domain.clock import Clock
from freehold.domain.ids import InputId, TaskId, call_of_request, is_id
from freehold.domain.logs import LogEntry, LogFilter, LogSource, exit_notice
from freehold.domain.tasks import TaskExit
from freehold.store.logs import LogStore, Numbered

T = TypeVar("T")

_PAGE = 1000
_LATE = 0.5  # seconds by which output may come after its result
_SEARCHES = 2  # that read files at once; more would take the interpreter from those who call functions


class Logs:
    def __init__(self, *, store: LogStore, tasks: Tasks, clock: Clock) -> None:
        self._store = store
        self._tasks = tasks
        self._clock = clock
        self._changed: defaultdict[str, Wakeup] = defaultdict(Wakeup)
        self._done: set[str] = set()
        self._searches = asyncio.Semaphore(_SEARCHES)

    def task_logged(self, task_id: TaskId, entries: Sequence[LogEntry]) -> None:
        """Output of a task, told apart by input as far as one can: by what the container says, else by what the task runs now."""
        if (live := self._tasks.find(task_id)) is not None:
            self.append(live.task.app_id, [self._attributed(entry, live) for entry in entries])

    def task_exited(self, task_id: TaskId, end: TaskExit) -> None:
        """What a person should know of it, at the end of its output. To be told before the task is forgotten."""
        if (live := self._tasks.find(task_id)) is not None and (text := exit_notice(end, self._tasks.pause_after(live, end))):
            self.remark(live, text)

    def remark(self, live: LiveTask, text: str, input_id: str = "") -> None:
        """A line of the engine's own about a task, or about one of its inputs."""
        said = LogEntry(at=self._clock.now().timestamp(), source=LogSource.SYSTEM, text=f"{text}\n", input_id=input_id)
        self.task_logged(live.id, [said])

    def append(self, subject: str, entries: Sequence[LogEntry]) -> None:
        self._store.append(subject, entries)
        self._changed[subject].notify()

    def mark_done(self, subject: str) -> None:
        """Nothing more will be written: those who follow are told so. Known in memory only; after a restart, whoever knows says it again."""
        self._done.add(subject)
        self._store.release(subject)
        self._changed.pop(subject, Wakeup()).notify()

    def is_done(self, subject: str, task_id: str = "") -> bool:
        """Whether nothing more comes: of the whole log, or of one task."""
        return subject in self._done or (task_id != "" and self._tasks.find(TaskId(task_id)) is None)

    def nudge(self, subject: str) -> None:
        """Those who follow look again whether it is done."""
        if subject in self._changed:
            self._changed[subject].notify()

    async def follow(self, subject: str, after: int, seconds: float, task_id: str = "") -> AsyncIterator[list[Numbered]]:
        """Pages of entries after a number, as they come, until the log (or that of this task) is done or, after that many seconds,
        nothing more is there.
        """
        deadline = self._clock.monotonic() + seconds
        while True:
            changed = self._changed[subject]
            generation = changed.generation
            is_done = self.is_done(subject, task_id)
            page = await self._page(subject, after)
            if page:
                after = page[-1].number
                yield page
                continue
            if is_done or not await changed.wait(generation, deadline - self._clock.monotonic()):
                return

    async def _page(self, subject: str, after: int) -> list[Numbered]:
        page = self._store.recent(subject, after, _PAGE)
        return await self._search(lambda: self._store.after(subject, after, _PAGE)) if page is None else page

    async def place_of_newest(self, subject: str, wanted: LogFilter, lines: int) -> int:
        """After which number to begin, to show no more than so many of the lines that are there."""
        found = await self.newest(subject, wanted, lines)
        return found[0].number - 1 if found else 0

    async def newest(self, subject: str, wanted: LogFilter, lines: int) -> list[Numbered]:
        """The last lines that match, oldest first."""
        return await self._search(lambda: self._store.newest(subject, wanted, lines))

    async def all(self, subject: str, wanted: LogFilter, limit: int) -> list[Numbered]:
        """Everything that matches, oldest first, up to a limit in what `count` counts."""
        return await self._search(lambda: self._store.all(subject, wanted, limit))

    async def count(self, subject: str, wanted: LogFilter, width: int) -> Mapping[tuple[int, LogSource], int]:
        return await self._search(lambda: self._store.count(subject, wanted, width))

    async def prune(self, now: datetime, *, ttl: timedelta, total_bytes: int) -> int:
        """Forget what is too old or too much, the oldest first. How many pieces went."""
        return await asyncio.to_thread(self._store.prune, now, ttl=ttl, total_bytes=total_bytes)

    async def _search(self, look: Callable[[], T]) -> T:
        async with self._searches:
            return await asyncio.to_thread(look)

    def _attributed(self, entry: LogEntry, live: LiveTask) -> LogEntry:
        """A container may name only inputs that it was given. Without a name: the only input that runs, or the only call."""
        author = _named(entry, live) or self._only_author(live)
        return replace(entry, task_id=live.id, function_id=live.task.function_id, input_id=author.input_id, call_id=author.call_id)

    def _only_author(self, live: LiveTask) -> Author:
        running = list(live.running.values())
        if not running and live.authors and not live.is_shared and self._clock.monotonic() - live.idle_since < _LATE:
            return next(reversed(live.authors.values()))
        calls = {item.call.id for item in running}
        return Author(running[0].id if len(running) == 1 else "", calls.pop() if len(calls) == 1 else "")


def _named(entry: LogEntry, live: LiveTask) -> Author | None:
    input_id = InputId(entry.input_id)
    author = live.authors.get(input_id)
    if author is None and (running := live.running.get(input_id)) is not None:
        return Author(running.id, running.call.id)  # it was given to the task by an earlier engine
    if author is None and live.serves_http and is_id(input_id, "in"):
        return Author(input_id, call_of_request(input_id))  # no book is kept of web requests that go to it directly
    return author
