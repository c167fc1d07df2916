"""Tries of an input: by the user's policy, after losses, delivered again, and what becomes of them when the disk refuses a result."""

import asyncio

import pytest
from fakes.calls import R, World, an_item, ticket_of
from fakes.clock import FakeClock

from freehold.domain.calls import CallKind, Invocation, StoredResult
from freehold.domain.ids import DefinitionId, InputId
from freehold.domain.retries import MAX_LOSSES
from freehold.domain.tasks import ExitKind, TaskExit
from freehold.store.memory.store import MemoryStore

LOST = TaskExit(kind=ExitKind.LOST)
CRASHED = TaskExit(kind=ExitKind.CRASHED, code=3, detail="boom")


@pytest.fixture
def world():
    return World()


class BrokenStore(MemoryStore):
    """Refuses transactions while `is_full`."""

    is_full = False

    def transaction(self):
        if self.is_full:
            msg = "no space left on device"
            raise OSError(msg)
        return super().transaction()


async def spawned(world, **fields):
    return await world.call(invocation=Invocation.ASYNC, **fields)


async def result_of(world, call, idx=0):
    page = await world.outputs(call, start_idx=idx, end_idx=idx, timeout=5)
    return page.outputs[0].result


class TestRetriesOfAsynchronousInputs:
    async def test_a_failure_is_tried_again_until_it_passes(self, world):
        call, task = await spawned(world, retries=2), world.a_task()
        for data in (b"first", b"second"):
            (item,) = await world.claim(task)
            await world.answer(task, item, data, R.GENERIC_STATUS_FAILURE)
        (item,) = await world.claim(task)
        await world.answer(task, item, b"third")
        assert (item.retry_count, (await result_of(world, call)).data) == (2, b"third")

    async def test_the_last_failure_is_the_result(self, world):
        call, task = await spawned(world, retries=1), world.a_task()
        for data in (b"first", b"last"):
            (item,) = await world.claim(task)
            await world.answer(task, item, data, R.GENERIC_STATUS_FAILURE)
        result = await result_of(world, call)
        assert (result.status, result.data) == (R.GENERIC_STATUS_FAILURE, b"last")
        assert call.unfinished == 0

    async def test_a_pause_lies_between_two_tries(self, world):
        call, task = await spawned(world, retries=1, initial_delay_ms=60), world.a_task()
        (item,) = await world.claim(task)
        await world.answer(task, item, status=R.GENERIC_STATUS_FAILURE)
        assert not len(world.calls.find_pool(world.function.id))
        assert world.calls.has_unfinished(world.function.app_id)
        started = asyncio.get_running_loop().time()
        await world.claim(task)
        assert asyncio.get_running_loop().time() - started >= 0.05
        assert call.unfinished == 1

    async def test_a_crash_of_the_container_counts_as_a_failure(self, world):
        call, task = await spawned(world, retries=1), world.a_task()
        await world.claim(task)
        await world.tasks.record_exit(task.id, CRASHED)
        (item,) = await world.claim(world.a_task())
        assert item.retry_count == 1
        assert call.unfinished == 1

    async def test_a_lost_container_costs_no_retry(self, world):
        call = await spawned(world, retries=1)
        for _ in range(3):
            task = world.a_task()
            (item,) = await world.claim(task)
            await world.tasks.record_exit(task.id, LOST)
            assert item.retry_count == 0
        assert call.unfinished == 1

    async def test_containers_are_not_lost_for_ever(self, world):
        call = await spawned(world)
        for _ in range(MAX_LOSSES):
            task = world.a_task()
            await world.claim(task)
            await world.tasks.record_exit(task.id, LOST)
        assert "containers were lost" in (await result_of(world, call)).exception

    async def test_a_cancelled_input_is_not_tried_again(self, world):
        call, task = await spawned(world, retries=3), world.a_task()
        (item,) = await world.claim(task)
        await world.calls.cancel(call.id)
        await world.answer(task, item, status=R.GENERIC_STATUS_FAILURE)
        assert (call.unfinished, len(world.calls.find_pool(world.function.id))) == (0, 0)

    async def test_the_caller_of_a_cancelled_input_reads_that_it_was(self, world):
        call, task = await world.call(), world.a_task()
        (item,) = await world.claim(task)
        await world.calls.cancel(call.id)
        await world.answer(task, item, status=R.GENERIC_STATUS_TERMINATED)
        assert (await result_of(world, call)).exception == "The function call was cancelled."

    async def test_a_cancellation_ends_a_pause(self, world):
        call, task = await spawned(world, retries=3, initial_delay_ms=50), world.a_task()
        (item,) = await world.claim(task)
        await world.answer(task, item, status=R.GENERIC_STATUS_FAILURE)
        await world.calls.cancel(call.id)
        await asyncio.sleep(0.1)
        assert (await result_of(world, call)).status == R.GENERIC_STATUS_TERMINATED
        assert not len(world.calls.find_pool(world.function.id))

    async def test_the_count_outlives_the_engine(self, world):
        call, task = await spawned(world, retries=2, initial_delay_ms=60_000), world.a_task()
        (item,) = await world.claim(task)
        await world.answer(task, item, status=R.GENERIC_STATUS_FAILURE)
        reborn = World(store=world.store)
        await reborn.calls.restore()
        other = reborn.tasks.create(world.function, DefinitionId("de-1"), "test")
        (item,) = await reborn.claim(other)
        assert item.retry_count == 1
        await reborn.answer(other, item, status=R.GENERIC_STATUS_FAILURE)
        assert reborn.calls.get_live(call.id).unfinished == 1, "one retry is left"

    async def test_a_synchronous_failure_is_its_clients_to_retry(self, world):
        call, task = await world.call(retries=3), world.a_task()
        (item,) = await world.claim(task)
        await world.answer(task, item, status=R.GENERIC_STATUS_FAILURE)
        assert (await result_of(world, call)).status == R.GENERIC_STATUS_FAILURE
        assert call.unfinished == 0


class TestNeighbours:
    async def test_those_of_a_cancelled_input_run_again_when_it_takes_their_container_along(self, world):
        task = world.a_task()
        cancelled, neighbour = await world.call(), await world.call()
        for _ in range(2):
            await world.claim(task)
        await world.calls.cancel(cancelled.id)
        await world.tasks.record_exit(task.id, CRASHED)
        (again,) = await world.claim(world.a_task())
        assert again.function_call_id == neighbour.id
        assert (await result_of(world, cancelled)).status == R.GENERIC_STATUS_TERMINATED

    async def test_what_a_stopped_container_interrupts_runs_again(self, world):
        task = world.a_task()
        call = await world.call()
        (item,) = await world.claim(task)
        world.tasks.stop(task, "test")
        await world.answer(task, item, status=R.GENERIC_STATUS_TERMINATED)
        assert call.unfinished == 1
        (again,) = await world.claim(world.a_task())
        assert again.input_id == item.input_id

    async def test_a_function_that_cancels_itself_has_its_end_by_that(self, world):
        call, task = await world.call(), world.a_task()
        (item,) = await world.claim(task)
        await world.answer(task, item, status=R.GENERIC_STATUS_TERMINATED)
        assert (await result_of(world, call)).status == R.GENERIC_STATUS_TERMINATED

    async def test_what_a_cancelled_input_waits_for_is_cancelled_and_what_it_spawned_is_not(self, world):
        task = world.a_task()
        parent = await world.call()
        (item,) = await world.claim(task)
        waited, left = await world.call(parent_input_id=item.input_id), await spawned(world, parent_input_id=item.input_id)
        await world.calls.cancel(parent.id)
        assert (waited.unfinished, left.unfinished) == (0, 1)


class TestDeliveries:
    """An answer that was lost on its way to the container."""

    async def test_the_same_request_gets_the_same_inputs(self, world):
        await world.call(kind=CallKind.MAP, inputs=3)
        task = world.a_task()
        first = await world.claim(task, request_key="a")
        again = await world.claim(task, request_key="a")
        other = await world.claim(task, request_key="b")
        assert [item.input_id for item in first] == [item.input_id for item in again] != [item.input_id for item in other]

    async def test_what_was_answered_meanwhile_is_not_delivered_again(self, world):
        call = await world.call(kind=CallKind.MAP, inputs=2)
        task = world.a_task()
        (first,) = await world.claim(task, request_key="a")
        await world.answer(task, first)
        (second,) = await world.claim(task, request_key="a")
        assert second.function_map_idx == 1
        assert call.unfinished == 1

    async def test_a_batch_is_delivered_again_as_a_batch(self, world):
        await world.call(kind=CallKind.MAP, inputs=5)
        task = world.a_task()
        first = await world.claim(task, batch=3, linger=1, request_key="a")
        again = await world.claim(task, batch=3, linger=1, request_key="a")
        assert {item.input_id for item in first} == {item.input_id for item in again}


class TestAttempts:
    async def test_each_try_is_kept_with_its_task_and_how_it_ended(self, world):
        await spawned(world, retries=1)
        lost, failed, last = world.a_task(), world.a_task(), world.a_task()
        await world.claim(lost)
        await world.tasks.record_exit(lost.id, LOST)
        (item,) = await world.claim(failed)
        await world.answer(failed, item, status=R.GENERIC_STATUS_FAILURE)
        (item,) = await world.claim(last)
        await world.answer(last, item)
        await world.journal.flush()
        async with world.store.transaction() as tx:
            tries = await tx.calls.attempts_of([InputId(item.input_id)])
        assert [(attempt.number, attempt.task_id) for attempt in tries] == [(0, lost.id), (1, failed.id), (2, last.id)]
        assert [attempt.outcome for attempt in tries] == ["lost with its container (lost)", "failure", ""]

    async def test_an_input_that_a_task_still_runs_stays_with_it_over_a_restart(self, world):
        call, task = await spawned(world), world.a_task()
        (item,) = await world.claim(task)
        await world.journal.flush()
        reborn = World(store=world.store)
        adopted = reborn.adopt(task)
        await reborn.calls.restore()
        assert not len(reborn.calls.find_pool(world.function.id))
        (again,) = await reborn.claim(adopted)
        assert (again.input_id, again.retry_count) == (item.input_id, item.retry_count), "it may not have arrived"
        await reborn.answer(adopted, item, b"done")
        assert (await result_of(reborn, call)).data == b"done"

    async def test_an_answer_for_an_input_that_is_queued_again_is_its_result(self, world):
        call, task = await spawned(world), world.a_task()
        (item,) = await world.claim(task)
        reborn = World(store=world.store)  # it does not know of the try
        adopted = reborn.adopt(task)
        await reborn.calls.restore()
        await reborn.answer(adopted, item, b"done")
        assert (await result_of(reborn, call)).data == b"done"
        assert not len(reborn.calls.find_pool(world.function.id)), "it does not run again"


class TestInHand:
    """A task that an earlier engine had given inputs says which it has."""

    async def test_a_queued_one_stays_with_it(self, world):
        call, task = await spawned(world), world.a_task()
        (item,) = await world.claim(task)
        reborn = World(store=world.store)  # it does not know of the try
        adopted = reborn.adopt(task)
        await reborn.calls.restore()
        reborn.claims.recover(task.id, {item.input_id: item.retry_count})
        assert not len(reborn.calls.find_pool(world.function.id))
        await reborn.answer(adopted, item, b"done")
        assert (await result_of(reborn, call)).data == b"done"

    async def test_a_synchronous_one_is_its_own_when_the_client_brings_it(self, world):
        call, task = await world.call(), world.a_task()
        (item,) = await world.claim(task)
        reborn = World()
        adopted = reborn.adopt(task)
        reborn.claims.recover(task.id, {item.input_id: item.retry_count})
        resumed = reborn.calls.resume(world.function, call.id, kind=CallKind.UNARY)
        reborn.calls.retry(resumed, ticket_of(call), item.input, 0)
        assert list(adopted.running) == [item.input_id]
        await reborn.answer(adopted, item, b"done")
        assert (await result_of(reborn, resumed)).data == b"done"

    async def test_one_whose_task_ended_before_the_client_came_runs_elsewhere(self, world):
        call, task = await world.call(), world.a_task()
        (item,) = await world.claim(task)
        reborn = World()
        reborn.adopt(task)
        reborn.claims.recover(task.id, {item.input_id: item.retry_count})
        await reborn.tasks.record_exit(task.id, LOST)
        resumed = reborn.calls.resume(world.function, call.id, kind=CallKind.UNARY)
        reborn.calls.retry(resumed, ticket_of(call), item.input, 0)
        assert len(reborn.calls.find_pool(world.function.id)) == 1


class TestDiskThatRefuses:
    @pytest.fixture
    def world(self):
        return World(store=BrokenStore())

    async def test_a_result_is_brought_again(self, world):
        call, task = await spawned(world), world.a_task()
        (item,) = await world.claim(task)
        world.store.is_full = True
        with pytest.raises(OSError, match="no space"):
            await world.answer(task, item, b"done")
        assert not (await world.outputs(call, start_idx=0, end_idx=0)).outputs, "nobody learns of what is not on disk"
        world.store.is_full = False
        await world.answer(task, item, b"done")
        assert (await result_of(world, call)).data == b"done"

    async def test_an_input_whose_task_ended_meanwhile_runs_again(self, world):
        call, task = await spawned(world), world.a_task()
        (item,) = await world.claim(task)
        world.store.is_full = True
        await world.tasks.record_exit(task.id, LOST)
        world.store.is_full = False
        (again,) = await world.claim(world.a_task())
        assert (again.input_id, call.unfinished) == (item.input_id, 1)

    async def test_a_retry_is_asked_for_again(self, world):
        call, task = await spawned(world, retries=1), world.a_task()
        (item,) = await world.claim(task)
        world.store.is_full = True
        with pytest.raises(OSError, match="no space"):
            await world.answer(task, item, status=R.GENERIC_STATUS_FAILURE)
        world.store.is_full = False
        await world.answer(task, item, status=R.GENERIC_STATUS_FAILURE)
        (again,) = await world.claim(task)
        assert (again.retry_count, call.unfinished) == (1, 1)

    async def test_inputs_of_a_call_that_cannot_be_cancelled_stay_queued(self, world):
        call = await spawned(world, kind=CallKind.MAP, inputs=3)
        world.store.is_full = True
        with pytest.raises(OSError, match="no space"):
            await world.calls.cancel(call.id)
        world.store.is_full = False
        assert not call.record.is_cancelled
        assert [item.function_map_idx for item in await world.claim(world.a_task(), batch=3, linger=1)] == [0, 1, 2]


class TestTwoResults:
    async def test_the_one_that_is_on_disk_stays(self, world):
        """The first was committed, and the engine did not live to say so."""
        call, task = await spawned(world), world.a_task()
        (item,) = await world.claim(task)
        async with world.store.transaction() as tx:
            first = R(status=R.GENERIC_STATUS_SUCCESS, data=b"first")
            stored = world.an_output(call, first).SerializeToString()
            await tx.calls.write(
                results=[StoredResult(input_id=item.input_id, result=stored, status=first.status, finished_at=world.clock.now())]
            )
        await world.answer(task, item, b"second")
        assert (await result_of(world, call)).data == b"first"


class TestForgetting:
    async def test_a_call_that_is_read_all_the_time_does_not_hold_up_others(self):
        clock = FakeClock()
        world = World(clock=clock)
        task = world.a_task()
        read, silent = await world.call(), await world.call()
        for _ in range(2):
            await world.answer(task, (await world.claim(task))[0])
        clock.move(500)
        await world.outputs(read, start_idx=0, end_idx=0)
        clock.move(101)
        world.calls.forget_silent()
        assert (world.calls.find_live(silent.id), world.calls.find_live(read.id)) == (None, read)

    async def test_an_input_that_is_taken_out_and_put_back_is_there_once(self, world):
        call = await world.call(kind=CallKind.MAP, inputs=3)
        pool = world.calls.find_pool(world.function.id)
        pool.withdraw(call.inputs[1])
        pool.add(call.inputs[1], first=True)
        assert (len(pool), [live.idx for live in pool.waiting()]) == (3, [1, 0, 2])
        assert [pool.take().idx for _ in range(3)] == [1, 0, 2]
        assert pool.take() is None

    async def test_adding_to_a_finished_call_makes_it_unfinished(self, world):
        call, task = await world.call(kind=CallKind.MAP, inputs=1), world.a_task()
        await world.answer(task, (await world.claim(task))[0])
        await world.calls.put_inputs(call.id, [an_item(1)])
        assert call.unfinished == 1
