"""Calls from put to result, with the memory store and no container: the tests play the tasks."""

import asyncio
from dataclasses import replace

import pytest
from fakes.calls import R, World, an_item, ticket_of
from fakes.clock import FakeClock

from freehold.domain.calls import CallKind, Invocation
from freehold.domain.errors import NotFound, ResourceExhausted
from freehold.domain.ids import DefinitionId, new_function_id
from freehold.domain.tasks import ExitKind, TaskExit, TaskState


@pytest.fixture
def world():
    return World()


@pytest.fixture
def clock():
    return FakeClock()


class TestOneCall:
    async def test_a_result_reaches_the_reader_that_waits_for_it(self, world):
        call, task = await world.call(), world.a_task()
        (item,) = await world.claim(task)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(world.outputs(call, start_idx=0, end_idx=0, timeout=5))
            group.create_task(world.answer(task, item))
        (output,) = reading.result().outputs
        assert output.result.data == b"result"
        assert reading.result().num_unfinished_inputs == 0

    async def test_a_task_that_waits_gets_the_input_when_it_comes(self, world):
        task = world.a_task()
        async with asyncio.TaskGroup() as group:
            claiming = group.create_task(world.claim(task))
            await asyncio.sleep(0)
            group.create_task(world.call())
        assert len(claiming.result()) == 1
        assert world.tasks.get(task.id).state is TaskState.READY

    async def test_nothing_yet_is_an_empty_answer_with_one_unfinished_input(self, world):
        response = await world.outputs(await world.call(), start_idx=0, end_idx=0, timeout=0)
        assert not response.outputs
        assert response.num_unfinished_inputs == 1

    async def test_a_read_call_is_forgotten_once_nobody_can_have_missed_the_answer(self, world):
        call, task = await world.call(), world.a_task()
        await world.answer(task, (await world.claim(task))[0])
        for _ in range(2):  # the first answer may be lost on its way
            assert (await world.outputs(call, start_idx=0, end_idx=0, clear_on_success=True)).outputs
        assert world.calls.find_live(call.id) is None
        for _ in range(1000):
            other = await world.call()
            await world.answer(task, (await world.claim(task))[0])
            await world.outputs(other, start_idx=0, end_idx=0, clear_on_success=True)
        with pytest.raises(NotFound, match="Call the function again"):
            await world.outputs(call, start_idx=0, end_idx=0)

    async def test_a_second_answer_changes_nothing(self, world):
        call, task = await world.call(), world.a_task()
        (item,) = await world.claim(task)
        await world.answer(task, item, b"first")
        await world.answer(task, item, b"second")
        (output,) = (await world.outputs(call, start_idx=0, end_idx=0)).outputs
        assert output.result.data == b"first"

    async def test_an_answer_from_a_task_of_another_function_is_ignored(self, world):
        call, holder = await world.call(), world.a_task()
        other = world.tasks.create(replace(world.function, id=new_function_id()), DefinitionId("de-1"), "test")
        (item,) = await world.claim(holder)
        await world.answer(other, item)
        assert not (await world.outputs(call, start_idx=0, end_idx=0)).outputs

    async def test_the_same_index_sent_twice_is_one_input(self, world):
        call = await world.call()
        (again,) = await world.calls.put_inputs(call.id, [an_item(0)])
        assert again.id == call.inputs[0].id
        assert len(world.calls.find_pool(world.function.id)) == 1

    async def test_a_retried_input_runs_again_under_the_next_attempt(self, world):
        call, task = await world.call(retries=2), world.a_task()
        (item,) = await world.claim(task)
        await world.answer(task, item, b"no", R.GENERIC_STATUS_FAILURE)
        world.calls.retry(call, ticket_of(call), item.input, 0)
        (again,) = await world.claim(task)
        await world.answer(task, again, b"yes")
        (output,) = (await world.outputs(call, start_idx=0, end_idx=0)).outputs
        assert (again.retry_count, output.result.data) == (1, b"yes")


class TestMaps:
    async def test_the_reader_moves_along_in_order_of_completion(self, world):
        call, task = await world.call(kind=CallKind.MAP, inputs=3), world.a_task()
        items = [(await world.claim(task))[0] for _ in range(3)]
        await world.answer(task, items[2], b"2")
        first = await world.outputs(call, timeout=1)
        await world.answer(task, items[0], b"0")
        await world.answer(task, items[1], b"1")
        second = await world.outputs(call, last_entry_id=first.last_entry_id, timeout=1)
        assert [item.idx for item in first.outputs] == [2]
        assert [item.idx for item in second.outputs] == [0, 1]

    async def test_more_inputs_than_the_bound_are_refused_and_none_is_kept(self):
        world = World(max_queued_inputs=2)
        call = await world.calls.create(world.function, kind=CallKind.MAP, invocation=Invocation.SYNC)
        with pytest.raises(ResourceExhausted, match="FREEHOLD_MAX_QUEUED_INPUTS"):
            await world.calls.put_inputs(call.id, [an_item(i) for i in range(3)])
        assert call.unfinished == 0


class TestBatches:
    async def test_a_batch_takes_what_waits_in_order_up_to_its_size(self, world):
        await world.call(kind=CallKind.MAP, inputs=5)
        items = await world.claim(world.a_task(), batch=3, linger=5.0)
        assert [item.function_map_idx for item in items] == [0, 1, 2]

    async def test_a_batch_that_does_not_fill_closes_when_its_first_input_has_waited_enough(self, world):
        await world.call(kind=CallKind.MAP, inputs=2)
        items = await world.claim(world.a_task(), batch=10, linger=0.02)
        assert len(items) == 2


class TestEnds:
    async def test_a_lost_task_gives_its_inputs_back_to_the_front(self, world):
        call, task = await world.call(kind=CallKind.MAP, inputs=2), world.a_task()
        (item,) = await world.claim(task)
        await world.tasks.record_exit(task.id, TaskExit(kind=ExitKind.LOST))
        (again,) = await world.claim(world.a_task())
        assert again.input_id == item.input_id
        assert call.unfinished == 2

    async def test_a_crash_fails_the_input_with_the_last_output(self, world):
        call, task = await world.call(), world.a_task()
        await world.claim(task)
        await world.tasks.record_exit(task.id, TaskExit(kind=ExitKind.CRASHED, code=11, detail="boom"))
        (output,) = (await world.outputs(call, start_idx=0, end_idx=0)).outputs
        assert output.result.status == R.GENERIC_STATUS_FAILURE
        assert "boom" in output.result.exception

    async def test_a_task_that_dies_before_it_is_ready_fails_who_waits_and_pauses_the_function(self, world):
        call, task = await world.call(), world.a_task()
        await world.tasks.record_exit(task.id, TaskExit(kind=ExitKind.CRASHED, code=1, detail="ImportError: nope"))
        (output,) = (await world.outputs(call, start_idx=0, end_idx=0)).outputs
        assert output.result.status == R.GENERIC_STATUS_INIT_FAILURE
        assert "ImportError: nope" in output.result.exception
        assert not world.tasks.may_start(world.function.id)

    async def test_what_the_code_said_before_it_gave_up_reaches_the_callers(self, world):
        call, task = await world.call(), world.a_task()
        await world.claims.fail_start(task.id, R(status=R.GENERIC_STATUS_FAILURE, data=b"pickled exception"))
        await world.tasks.record_exit(task.id, TaskExit(kind=ExitKind.FINISHED))
        (output,) = (await world.outputs(call, start_idx=0, end_idx=0)).outputs
        assert output.result.data == b"pickled exception"

    async def test_a_draining_task_is_told_to_leave_and_gets_no_input(self, world):
        task = world.a_task()
        async with asyncio.TaskGroup() as group:
            claiming = group.create_task(world.claim(task))
            await asyncio.sleep(0)
            world.tasks.drain(task, "test")
            world.claims.dismiss(task)
        assert [item.kill_switch for item in claiming.result()] == [True]

    async def test_the_token_of_an_ended_task_is_refused(self, world):
        task = world.a_task()
        assert world.tasks.accepts_task(task.id, task.token)
        await world.tasks.record_exit(task.id, TaskExit(kind=ExitKind.FINISHED))
        assert not world.tasks.accepts_task(task.id, task.token)


class TestCancellation:
    async def test_queued_inputs_never_start(self, world):
        call = await world.call(kind=CallKind.MAP, inputs=3)
        await world.calls.cancel(call.id)
        assert len(world.calls.find_pool(world.function.id)) == 0
        assert {item.result.status for item in call.outputs} == {R.GENERIC_STATUS_TERMINATED}

    async def test_the_task_of_a_running_input_learns_of_it_with_its_heartbeat(self, world):
        call, task = await world.call(), world.a_task()
        (item,) = await world.claim(task)
        async with asyncio.TaskGroup() as group, asyncio.timeout(30):
            beat = group.create_task(world.claims.heartbeat(task.id))
            await asyncio.sleep(0)
            group.create_task(world.calls.cancel(call.id))
        assert list(beat.result().cancel_input_event.input_ids) == [item.input_id]


class TestDurability:
    async def test_an_asynchronous_input_is_on_disk_when_it_is_accepted(self, world):
        call = await world.call(invocation=Invocation.ASYNC)
        async with world.store.transaction() as tx:
            (stored,) = await tx.calls.inputs(call.id)
        assert stored.result is None

    async def test_unfinished_calls_are_queued_again_by_the_next_engine(self, world):
        call = await world.call(kind=CallKind.MAP, invocation=Invocation.ASYNC, inputs=2)
        task = world.a_task()
        await world.answer(task, (await world.claim(task))[0])
        reborn = World(store=world.store)
        assert await reborn.calls.restore() == 1
        (item,) = await reborn.claim(reborn.tasks.create(world.function, DefinitionId("de-1"), "test"))
        assert item.function_call_id == call.id

    async def test_a_finished_result_is_read_from_disk_by_the_next_engine(self, world):
        call, task = await world.call(invocation=Invocation.ASYNC), world.a_task()
        await world.answer(task, (await world.claim(task))[0])
        reborn = World(store=world.store)
        (output,) = (await reborn.outputs(call, start_idx=0, end_idx=0)).outputs
        assert output.result.data == b"result"


class TestRaces:
    """What happens between two awaits."""

    async def test_an_input_passes_from_a_task_that_is_told_to_leave_to_one_that_waits(self, world):
        staying, leaving = world.a_task(), world.a_task()
        async with asyncio.TaskGroup() as group:
            first = group.create_task(world.claim(staying))
            second = group.create_task(world.claims.claim(leaving.id))
            await asyncio.sleep(0)
            await world.call()  # wakes the one that was ready last, which does not look before it drains
            world.tasks.drain(leaving, "test")
        assert len(first.result()) == 1
        assert [item.kill_switch for item in second.result().inputs] == [True]

    async def test_an_index_that_arrives_twice_at_once_is_one_input(self, world):
        call = await world.calls.create(world.function, kind=CallKind.MAP, invocation=Invocation.ASYNC)
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(world.calls.put_inputs(call.id, [an_item(0)]))
        assert call.unfinished == 1
        async with world.store.transaction() as tx:
            assert len(await tx.calls.inputs(call.id)) == 1

    async def test_an_index_twice_in_one_request_is_one_input(self, world):
        call = await world.calls.create(world.function, kind=CallKind.MAP, invocation=Invocation.SYNC)
        accepted = await world.calls.put_inputs(call.id, [an_item(0), an_item(0)])
        assert (call.unfinished, len({live.id for live in accepted})) == (1, 1)

    async def test_inputs_that_arrive_while_their_call_is_cancelled_do_not_run(self, world):
        call = await world.call(kind=CallKind.MAP, invocation=Invocation.ASYNC, inputs=1)
        async with asyncio.TaskGroup() as group:
            putting = group.create_task(world.calls.put_inputs(call.id, [an_item(1)]))
            await asyncio.sleep(0)
            group.create_task(world.calls.cancel(call.id))
        assert len(putting.result()) == 1
        assert call.unfinished == 0
        assert len(world.calls.find_pool(world.function.id)) == 0

    async def test_an_input_that_is_claimed_while_its_call_is_cancelled_is_not_forgotten(self, world):
        call, task = await world.call(kind=CallKind.MAP, invocation=Invocation.ASYNC, inputs=5), world.a_task()
        async with asyncio.TaskGroup() as group:
            group.create_task(world.calls.cancel(call.id))
            await asyncio.sleep(0)
            claiming = group.create_task(world.claims.claim(task.id))
            await asyncio.sleep(0)
            world.tasks.drain(task, "test")
            world.claims.dismiss(task)
        assert [item.kill_switch for item in claiming.result().inputs] == [True]
        assert call.unfinished == 0


class TestReaders:
    async def test_a_reader_of_a_cancelled_call_waits_for_the_input_that_still_runs(self, world):
        """An empty answer at once would be asked for again at once, for as long as the input takes to give up."""
        call, task = await world.call(), world.a_task()
        (item,) = await world.claim(task)
        await world.calls.cancel(call.id)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(world.outputs(call, start_idx=0, end_idx=0, timeout=5))
            await asyncio.sleep(0)
            assert not reading.done()
            group.create_task(world.answer(task, item, status=R.GENERIC_STATUS_TERMINATED))
        assert len(reading.result().outputs) == 1

    async def test_a_finished_call_that_nobody_asks_for_is_forgotten(self, clock):
        world = World(clock=clock)
        call, task = await world.call(), world.a_task()
        await world.answer(task, (await world.claim(task))[0])
        clock.move(601)
        world.calls.forget_silent()
        assert world.calls.find_live(call.id) is None

    async def test_of_finished_asynchronous_calls_memory_keeps_the_last_ones_and_the_disk_all(self, world, monkeypatch):
        monkeypatch.setattr("freehold.control.services.call_book._ON_DISK", 1)
        task = world.a_task()
        calls = [await world.call(kind=CallKind.UNARY, invocation=Invocation.ASYNC) for _ in range(3)]
        for data in (b"one", b"two", b"three"):
            await world.answer(task, (await world.claim(task))[0], data)
        assert [world.calls.find_live(call.id) for call in calls] == [None, None, calls[-1]]
        given = [(await world.outputs(call, start_idx=0, end_idx=0)).outputs[0].result.data for call in calls]
        assert given == [b"one", b"two", b"three"]

    async def test_a_map_is_not_let_go_while_its_reader_moves_along_it(self, world, monkeypatch):
        monkeypatch.setattr("freehold.control.services.call_book._ON_DISK", 0)
        task = world.a_task()
        call = await world.call(kind=CallKind.MAP, invocation=Invocation.ASYNC)
        await world.answer(task, (await world.claim(task))[0])
        assert world.calls.find_live(call.id) is call

    async def test_an_unfinished_call_stays_though_nobody_asks(self, clock):
        world = World(clock=clock)
        call = await world.call()
        clock.move(10_000)
        world.calls.forget_silent()
        assert world.calls.find_live(call.id) is call

    async def test_a_call_that_nobody_watches_goes_with_its_result(self, world):
        call, task = await world.call(), world.a_task()
        world.calls.unwatch(call)
        await world.answer(task, (await world.claim(task))[0])
        assert world.calls.find_live(call.id) is None

    async def test_the_pool_of_a_function_goes_with_its_last_task(self, world):
        task = world.a_task()
        await world.call()
        await world.answer(task, (await world.claim(task))[0])
        world.calls.forget_silent()
        assert world.calls.find_pool(world.function.id) is not None
        await world.tasks.record_exit(task.id, TaskExit(kind=ExitKind.FINISHED))
        world.calls.forget_silent()
        assert world.calls.find_pool(world.function.id) is None

    async def test_both_streams_of_a_call_end_with_its_result(self, world):
        """Who still sends a body that nobody will read must not wait for a reader."""
        call, task = await world.call(), world.a_task()
        await world.answer(task, (await world.claim(task))[0])
        assert (call.data_in.closed, call.data_out.closed) == (True, True)


class TestRestart:
    """A call that was half done when the engine ended."""

    async def half_done(self, world):
        """Of three inputs the last has a result; the call as the next engine sees it."""
        call, task = await world.call(kind=CallKind.MAP, invocation=Invocation.ASYNC, inputs=3), world.a_task()
        items = [(await world.claim(task))[0] for _ in range(3)]
        await world.answer(task, items[2], b"2")
        reborn = World(store=world.store)
        await reborn.calls.restore()
        return call, reborn

    async def test_results_from_before_are_read_beside_those_after(self, world):
        call, reborn = await self.half_done(world)
        page = await reborn.outputs(call, start_idx=0, end_idx=2)
        assert ([item.idx for item in page.outputs], page.num_unfinished_inputs) == ([2], 2)

    async def test_a_reader_goes_on_where_it_was(self, world):
        call, reborn = await self.half_done(world)
        task = reborn.tasks.create(world.function, DefinitionId("de-1"), "test")
        await reborn.answer(task, (await reborn.claim(task))[0], b"0")
        page = await reborn.outputs(call, last_entry_id="1-0")
        assert [item.idx for item in page.outputs] == [0]

    async def test_an_input_with_a_result_is_not_run_again_when_it_is_sent_again(self, world):
        call, reborn = await self.half_done(world)
        await reborn.calls.put_inputs(call.id, [an_item(2)])
        assert reborn.calls.get_live(call.id).unfinished == 2

    async def test_a_cancelled_call_does_not_run_again(self, world):
        call, task = await world.call(invocation=Invocation.ASYNC), world.a_task()
        await world.claim(task)
        await world.calls.cancel(call.id)
        reborn = World(store=world.store)
        await reborn.calls.restore()
        (output,) = (await reborn.outputs(call, start_idx=0, end_idx=0)).outputs
        assert output.result.status == R.GENERIC_STATUS_TERMINATED
