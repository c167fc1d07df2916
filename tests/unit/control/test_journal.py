"""Facts on their way to the store: in groups, none lost while the store is busy."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from fakes.clock import FakeClock

from freehold.control.services.journal import Journal
from freehold.domain.errors import Unavailable
from freehold.domain.ids import AppId, DefinitionId, FunctionId, TaskId
from freehold.domain.tasks import Task, TaskState, move
from freehold.store.memory.store import MemoryStore


class BusyStore(MemoryStore):
    """Refuses so many transactions."""

    def __init__(self, refusals):
        super().__init__()
        self.refusals = refusals
        self.accepted = asyncio.Event()

    @asynccontextmanager
    async def transaction(self):
        if self.refusals:
            self.refusals -= 1
            msg = "busy"
            raise Unavailable(msg)
        async with super().transaction() as tx:
            yield tx
        self.accepted.set()


def a_task(clock):
    return Task(
        id=TaskId("ta-1"),
        app_id=AppId("ap-1"),
        function_id=FunctionId("fu-1"),
        definition_id=DefinitionId("de-1"),
        state=TaskState.PENDING,
        enqueued_at=clock.now(),
    )


async def stored(store, subject):
    async with store.transaction() as tx:
        return [event.kind for event in await tx.events.of(subject)]


async def test_events_are_written_in_their_order_with_their_time():
    clock, store = FakeClock(), MemoryStore()
    journal = Journal(store=store, clock=clock)
    journal.event("ap-1", "created")
    clock.move(1)
    journal.event("ap-1", "stopped", cause="test")
    await journal.flush()
    async with store.transaction() as tx:
        first, second = await tx.events.of("ap-1")
    assert (first.kind, second.kind, second.cause, (second.at - first.at).total_seconds()) == ("created", "stopped", "test", 1)


async def test_only_the_newest_state_of_a_task_is_written():
    clock, store = FakeClock(), MemoryStore()
    journal = Journal(store=store, clock=clock)
    journal.task(a_task(clock))
    journal.task(move(a_task(clock), TaskState.STARTING, clock.now()))
    await journal.flush()
    async with store.transaction() as tx:
        assert (await tx.tasks.get(TaskId("ta-1"))).state is TaskState.STARTING


async def test_a_flush_writes_once():
    store = MemoryStore()
    journal = Journal(store=store, clock=FakeClock())
    journal.event("ap-1", "created")
    await journal.flush()
    await journal.flush()
    assert await stored(store, "ap-1") == ["created"]


async def test_what_could_not_be_written_stays_and_a_newer_state_wins():
    clock, store = FakeClock(), BusyStore(refusals=1)
    journal = Journal(store=store, clock=clock)
    journal.task(a_task(clock))
    journal.event("ap-1", "first")
    with pytest.raises(Unavailable):
        await journal.flush()
    journal.task(move(a_task(clock), TaskState.STARTING, clock.now()))
    journal.event("ap-1", "second")
    await journal.flush()
    assert await stored(store, "ap-1") == ["first", "second"]
    async with store.transaction() as tx:
        assert (await tx.tasks.get(TaskId("ta-1"))).state is TaskState.STARTING


async def test_a_busy_store_does_not_end_the_journal():
    """It runs beside everything else: its end would be the end of the engine."""
    store = BusyStore(refusals=1)
    journal = Journal(store=store, clock=FakeClock())
    journal.event("ap-1", "created")
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        running = group.create_task(journal.run())
        await store.accepted.wait()
        running.cancel()
    assert await stored(store, "ap-1") == ["created"]


async def test_the_oldest_events_go_when_the_disk_does_not_keep_up(monkeypatch):
    monkeypatch.setattr("freehold.control.services.journal._BOUND", 2)
    store = MemoryStore()
    journal = Journal(store=store, clock=FakeClock())
    for kind in ("first", "second", "third"):
        journal.event("ap-1", kind)
    await journal.flush()
    assert await stored(store, "ap-1") == ["second", "third"]
