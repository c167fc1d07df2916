"""Requests that wait together travel together, and every one of them gets its answer."""

import asyncio

import pytest

from modalkit._courier import MAX_PARCEL, OPEN_HANDS, Courier
from modalkit._parcels import Failure, Item, Output, Receipt, Reply

SECONDS = 10  # deadline of every wait


class Road:
    """A service that answers when it is told to; `cost` is the seconds of the model's work an item."""

    def __init__(self, cost=0.0, error=None, *, is_open=True):
        self.cost, self.error, self.parcels, self.gate = cost, error, [], asyncio.Event()
        if is_open:
            self.gate.set()

    async def __call__(self, parcel):
        self.parcels.append(parcel)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        count = len(parcel.items)
        return Reply(tuple(Output(item.input) for item in parcel.items), Receipt("c", self.cost * count, count))

    @property
    def sizes(self):
        return [len(parcel.items) for parcel in self.parcels]


def a_courier(road, **options):
    return Courier("m", road, **{"max_waiting": 1000, "on_receipt": lambda model, receipt: None, **options})


async def settle():
    """Until everything that may happen without time passing has happened."""
    for _ in range(20):
        await asyncio.sleep(0)


async def carry_all(courier, inputs):
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        tasks = [group.create_task(courier.carry(Item(each))) for each in inputs]
    return [task.result() for task in tasks]


async def known_to_cost(road):
    """A courier that has seen one answer."""
    courier = a_courier(road)
    await courier.carry(Item("first"))
    road.parcels.clear()
    return courier


class TestParcels:
    async def test_each_answer_is_its_own_requests(self):
        road = Road()
        courier = await known_to_cost(road)
        assert await carry_all(courier, range(200)) == [Output(each) for each in range(200)]

    async def test_before_anything_is_known_each_travels_alone(self):
        road = Road(is_open=False)
        courier = a_courier(road)
        waiting = asyncio.get_running_loop().create_task(carry_all(courier, range(5)))
        await settle()
        assert road.sizes == [1] * 5
        road.gate.set()
        await waiting

    async def test_items_that_are_quick_travel_together(self):
        road = Road(cost=0.0001)
        courier = await known_to_cost(road)
        await carry_all(courier, range(200))
        assert max(road.sizes) == MAX_PARCEL
        assert len(road.sizes) < 10

    async def test_items_that_take_long_travel_alone(self):
        """So that the engine's own batching and scaling see every one of them."""
        road = Road(cost=0.5)
        courier = await known_to_cost(road)
        await carry_all(courier, range(20))
        assert road.sizes == [1] * 20

    async def test_the_size_follows_the_cost(self):
        road = Road(cost=0.005)
        courier = await known_to_cost(road)
        assert courier.parcel_size == 4
        road.cost = 0.0001
        await carry_all(courier, range(100))
        assert courier.parcel_size > 4

    async def test_when_few_are_under_way_nobody_waits_for_company(self):
        road = Road(cost=0.0001)
        courier = await known_to_cost(road)
        road.gate.clear()
        waiting = asyncio.get_running_loop().create_task(courier.carry(Item(1)))
        await settle()
        assert road.sizes == [1]
        road.gate.set()
        await waiting

    async def test_when_hands_are_full_the_next_wait_until_they_fill_a_parcel(self):
        road = Road(cost=0.005)
        courier = await known_to_cost(road)
        road.gate.clear()
        loop = asyncio.get_running_loop()
        tasks = []
        for each in range(OPEN_HANDS + 4):
            tasks.append(loop.create_task(courier.carry(Item(each))))
            await settle()
        assert road.sizes == [1] * OPEN_HANDS + [4]
        road.gate.set()
        assert [await task for task in tasks] == [Output(each) for each in range(OPEN_HANDS + 4)]


class TestGathering:
    """Batches are gathered here, so that parcels of them alternate."""

    async def test_a_full_batch_does_not_wait(self):
        road = Road()
        courier = a_courier(road, batch=3, wait=60.0)
        tasks = []
        for each in range(3):
            tasks.append(asyncio.get_running_loop().create_task(courier.carry(_now(each))))
            await settle()
        async with asyncio.timeout(SECONDS):
            assert [await task for task in tasks] == [Output(each) for each in range(3)]
        assert road.sizes == [3]

    async def test_no_item_waits_longer_than_the_wait(self):
        road = Road()
        courier = a_courier(road, batch=100, wait=0.02)
        async with asyncio.timeout(SECONDS):
            assert await courier.carry(_now("alone")) == Output("alone")
        assert road.sizes == [1]

    async def test_quick_items_fill_a_parcel_past_the_batch(self):
        """The container cuts it into batches; the hop is paid once."""
        road = Road(cost=0.0001, is_open=False)
        courier = a_courier(road, batch=4, wait=60.0)
        courier._learn(Receipt("c", 0.0001, 1))
        waiting = asyncio.get_running_loop().create_task(carry_now(courier, range(40)))
        await settle()
        assert sum(road.sizes) == 40
        assert max(road.sizes) > 4
        road.gate.set()
        await waiting

    async def test_items_that_take_long_do_not_wait_for_hands(self):
        """There may be containers that have nothing to do."""
        road = Road(is_open=False)
        courier = a_courier(road, batch=4, wait=0.001)
        courier._learn(Receipt("c", 0.5, 1))
        count = 4 * OPEN_HANDS + 1
        waiting = asyncio.get_running_loop().create_task(carry_now(courier, range(count)))
        for _ in range(1000):
            if sum(road.sizes) == count:
                break
            await asyncio.sleep(0.01)
        road.gate.set()
        await waiting
        assert max(road.sizes) == 4

    async def test_those_that_came_meanwhile_go_with_the_first(self):
        road = Road()
        courier = a_courier(road, batch=100, wait=0.05)
        assert len(await carry_now(courier, range(7))) == 7
        assert road.sizes == [7]


def _now(given):
    import time  # noqa: PLC0415

    return Item(given, sent=time.time())


async def carry_now(courier, inputs):
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        tasks = [group.create_task(courier.carry(_now(each))) for each in inputs]
    return [task.result() for task in tasks]


class TestBound:
    async def full(self, road, **options):
        courier = a_courier(road, max_waiting=3, **options)
        courier._learn(Receipt("c", 0.01, 2))  # four travel together, so that three wait
        road.gate.clear()
        loop = asyncio.get_running_loop()
        tasks = []
        for each in range(OPEN_HANDS + 3):
            tasks.append(loop.create_task(courier.carry(Item(each))))
            await settle()
        return courier, tasks

    async def test_past_the_bound_the_answer_is_503_at_once(self):
        road = Road()
        courier, tasks = await self.full(road)
        outcome = await courier.carry(Item("late"))
        assert isinstance(outcome, Failure)
        assert (outcome.problem.status, outcome.problem.kind, outcome.problem.retry_after) == (503, "overloaded", 1.0)
        road.gate.set()
        await asyncio.wait(tasks, timeout=SECONDS)

    async def test_those_who_were_cancelled_leave_room(self):
        road = Road()
        courier, tasks = await self.full(road)
        for task in tasks[OPEN_HANDS:]:
            task.cancel()
        await settle()
        later = asyncio.get_running_loop().create_task(courier.carry(Item("later")))
        await settle()
        road.gate.set()
        async with asyncio.timeout(SECONDS):
            assert await later == Output("later")
        await asyncio.wait(tasks, timeout=SECONDS)
        assert [item.input for parcel in road.parcels for item in parcel.items] == [*range(OPEN_HANDS), "later"]


class TestCancellation:
    async def test_a_caller_who_leaves_does_not_take_the_others_with_it(self):
        road = Road(cost=0.0001)
        courier = await known_to_cost(road)
        road.gate.clear()
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(courier.carry(Item(each))) for each in range(4)]
        await settle()
        tasks[1].cancel()
        await settle()
        road.gate.set()
        async with asyncio.timeout(SECONDS):
            assert [await task for task in (tasks[0], *tasks[2:])] == [Output(0), Output(2), Output(3)]
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]


class TestFailures:
    async def test_a_failure_under_way_reaches_everyone_in_the_parcel(self):
        road = Road(cost=0.0001)
        courier = await known_to_cost(road)
        road.error = ConnectionError("gone")
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(courier.carry(Item(each))) for each in range(5)]
        done, pending = await asyncio.wait(tasks, timeout=SECONDS)
        assert not pending
        assert {str(task.exception()) for task in done} == {"gone"}

    async def test_the_next_parcel_is_not_harmed(self):
        road = Road()
        courier = await known_to_cost(road)
        road.error = ConnectionError("gone")
        with pytest.raises(ConnectionError):
            await courier.carry(Item(1))
        road.error = None
        assert await courier.carry(Item(2)) == Output(2)

    @pytest.mark.parametrize("count", [0, 1, 3])
    async def test_an_answer_of_another_length_reaches_everyone_as_an_error(self, count):
        async def wrong(parcel):
            return Reply(tuple(Output(0) for _ in range(count)), Receipt())

        courier = a_courier(wrong, batch=2, wait=60.0)
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(courier.carry(_now(each))) for each in range(2)]
        done, pending = await asyncio.wait(tasks, timeout=SECONDS)
        assert not pending
        assert all(isinstance(task.exception(), ValueError) for task in done)

    async def test_a_count_that_fails_costs_no_answer(self):
        def broken(model, receipt):
            raise ZeroDivisionError

        courier = a_courier(Road(), on_receipt=broken)
        async with asyncio.timeout(SECONDS):
            assert [await courier.carry(Item(each)) for each in range(2)] == [Output(0), Output(1)]


class TestClosing:
    async def test_what_is_under_way_is_waited_for(self):
        road = Road(is_open=False)
        courier = a_courier(road)
        loop = asyncio.get_running_loop()
        task = loop.create_task(courier.carry(Item(1)))
        await settle()
        closing = loop.create_task(courier.close())
        await settle()
        assert not closing.done()
        road.gate.set()
        await asyncio.wait_for(closing, SECONDS)
        assert await task == Output(1)

    async def test_what_waits_for_company_goes_at_once(self):
        road = Road()
        courier = a_courier(road, batch=10, wait=60.0)
        task = asyncio.get_running_loop().create_task(courier.carry(_now(1)))
        await settle()
        await asyncio.wait_for(courier.close(), SECONDS)
        assert await task == Output(1)
