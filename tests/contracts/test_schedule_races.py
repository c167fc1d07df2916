"""Two engines on one database, each with a service and a controller of its own: every due time becomes one call."""

import asyncio
from collections import Counter

import pytest
from fakes.clock import FakeClock
from fakes.control import ControlPlane

from freehold.store.sql.store import SqlStore

NAMES = ("f", "g")
ROUNDS = 50
PERIOD = 10.0  # seconds


@pytest.fixture
async def planes(tmp_path):
    """They share the database file and the hour; connections, memory and everything else are each one's own."""
    clock = FakeClock()
    stores = [SqlStore(tmp_path / "freehold.db") for _ in range(2)]
    for store in stores:
        await store.open()
    planes = [ControlPlane(tmp_path / f"engine-{n}", store=store, clock=clock) for n, store in enumerate(stores)]
    yield planes
    for plane, store in zip(planes, stores, strict=True):
        plane.log_store.close()
        await store.close()


async def fired(plane):
    """Function id → the due times for which it was called, as the events of both engines tell it."""
    async with plane.store.transaction() as tx:
        schedules = await tx.schedules.list()
        events = {item.function_id: await tx.events.of(item.function_id) for item in schedules}
    return {function_id: [event.cause for event in found if event.kind == "schedule_fired"] for function_id, found in events.items()}


async def together(*steps):
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(step) for step in steps]
    return [task.result() for task in running]


async def test_each_due_time_is_fired_once_by_one_of_them(planes):
    one, other = planes
    await one.deploy(*NAMES, schedule={"period": {"seconds": PERIOD}})
    for _ in range(ROUNDS):
        one.clock.move(PERIOD)
        await together(one.clockwork.step(), other.clockwork.step())

    for causes in (await fired(one)).values():
        assert len(causes) == ROUNDS
        assert Counter(causes).most_common(1)[0][1] == 1
    async with one.store.transaction() as tx:
        on_disk = {call.id for call, _ in await tx.calls.unfinished()}
        assert [schedule.missed for schedule in await tx.schedules.list()] == [0] * len(NAMES)
    in_memory = [{call_id for call_id in on_disk if plane.calls.find_live(call_id)} for plane in planes]
    assert len(on_disk) == ROUNDS * len(NAMES)
    assert in_memory[0].isdisjoint(in_memory[1])
    assert in_memory[0] | in_memory[1] == on_disk


async def test_a_turn_that_both_have_read_is_taken_by_one(planes):
    """The narrowest race: both have seen the same row before either of them writes."""
    one, other = planes
    await one.deploy(schedule={"period": {"seconds": PERIOD}})
    taken = []
    for _ in range(ROUNDS):
        one.clock.move(PERIOD)
        (mine,), (theirs,) = await one.schedules.due(one.clock.now()), await other.schedules.due(one.clock.now())
        assert mine == theirs
        taken.append(await together(one.schedules.take_turn(mine), other.schedules.take_turn(theirs)))

    assert all(len([call_id for call_id in pair if call_id]) == 1 for pair in taken)


async def test_pausing_in_one_engine_ends_the_runs_of_both(planes):
    one, other = planes
    await one.deploy(schedule={"period": {"seconds": PERIOD}})
    one.clock.move(PERIOD)
    (read_before,) = await other.schedules.due(one.clock.now())
    await one.schedules.pause("shop.f")

    assert await other.schedules.take_turn(read_before) is None
    assert await other.clockwork.step() is None
