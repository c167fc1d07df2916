"""Facts on their way to the store: tasks, attempts and events are written in groups, shortly after they happened, off the hot path.

What is lost when the process is killed is at most the last moment's history; nothing that was promised to a client goes this way.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import structlog

from freehold.domain.calls import Attempt
from freehold.domain.clock import Clock
from freehold.domain.errors import FreeholdError
from freehold.domain.ids import InputId, TaskId
from freehold.domain.tasks import Task
from freehold.observability.events import Event
from freehold.store.ports import Store

log = structlog.get_logger()

_PAUSE = 0.05  # seconds between groups
_BOUND = 50_000  # facts waiting; older events go first when the disk does not keep up


class Journal:
    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._tasks: dict[TaskId, Task] = {}
        self._attempts: dict[tuple[InputId, int], Attempt] = {}
        self._events: list[Event] = []
        self._waiting = asyncio.Event()

    def task(self, task: Task) -> None:
        """The newest state of a task; an older one that is not written yet is skipped."""
        self._tasks[task.id] = task
        self._waiting.set()

    def attempt(self, attempt: Attempt) -> None:
        """The newest state of a try of an asynchronous input."""
        self._attempts[attempt.input_id, attempt.number] = attempt
        if len(self._attempts) > _BOUND:
            del self._attempts[next(iter(self._attempts))]
        self._waiting.set()

    def event(self, subject: str, kind: str, cause: str = "", fields: Mapping[str, str] | None = None) -> None:
        self._events.append(Event(subject=subject, at=self._clock.now(), kind=kind, cause=cause, fields=fields or {}))
        del self._events[:-_BOUND]
        self._waiting.set()

    async def run(self) -> None:
        """Write groups until cancelled; then `flush` writes the last."""
        while True:
            await self._waiting.wait()
            try:
                await self.flush()
            except FreeholdError as error:
                log.warning("journal_delayed", why=str(error), facts=len(self._tasks) + len(self._events))
            await asyncio.sleep(_PAUSE)

    async def flush(self) -> None:
        """Write what waits. If that fails or is cancelled, it waits on."""
        self._waiting.clear()
        tasks, self._tasks = self._tasks, {}
        attempts, self._attempts = self._attempts, {}
        events, self._events = self._events, []
        if not tasks and not attempts and not events:
            return
        try:
            await self._write(tasks.values(), list(attempts.values()), events)
        except BaseException:
            self._tasks = tasks | self._tasks
            self._attempts = attempts | self._attempts
            self._events = (events + self._events)[-_BOUND:]
            self._waiting.set()
            raise

    async def _write(self, tasks: Iterable[Task], attempts: Sequence[Attempt], events: Sequence[Event]) -> None:
        async with self._store.transaction() as tx:
            for task in tasks:
                await tx.tasks.put(task)
            await tx.calls.put_attempts(attempts)
            await tx.events.add(events)
