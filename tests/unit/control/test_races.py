"""What arrives while something else is on its way to disk: the same output twice, ends of tasks, cancellations. Counts hold throughout."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from fakes.calls import R, World, an_item, ticket_of
from fakes.clock import FakeClock
from fakes.control import ControlPlane
from modal_proto import api_pb2

from freehold.control.services.call_book import CallBook
from freehold.domain.calls import CallKind, Invocation
from freehold.domain.errors import InvalidRequest, ResourceExhausted
from freehold.domain.ids import new_call_id, new_input_id
from freehold.domain.tasks import ExitKind, TaskExit
from freehold.store.memory.store import MemoryStore
from freehold.wire.tickets import InputTicket

LOST = TaskExit(kind=ExitKind.LOST)
FAILED = R.GENERIC_STATUS_FAILURE
TERMINATED = R.GENERIC_STATUS_TERMINATED
SLOW = 60_000  # milliseconds that an input pauses before its retry: longer than a test


class HeldStore(MemoryStore):
    """Its transactions begin one for each `let`, or at once while nobody holds it."""

    def __init__(self):
        super().__init__()
        self.tickets = None

    def hold(self):
        self.tickets = asyncio.Semaphore(0)

    def let(self, most=1000):
        for _ in range(most):
            self.tickets.release()

    @asynccontextmanager
    async def transaction(self):
        if self.tickets is not None:
            await self.tickets.acquire()
        async with super().transaction() as tx:
            yield tx


class FailingStore(MemoryStore):
    is_broken = False

    def transaction(self):
        if self.is_broken:
            msg = "disk I/O error"
            raise OSError(msg)
        return super().transaction()


@pytest.fixture
def world():
    return World(store=HeldStore())


def outputs_of(items, status=R.GENERIC_STATUS_SUCCESS):
    return [api_pb2.FunctionPutOutputsItem(input_id=item.input_id, retry_count=item.retry_count, result=R(status=status)) for item in items]


def in_background(work):
    return asyncio.get_running_loop().create_task(work)


async def settled(*works):
    async with asyncio.timeout(30):
        for work in works:
            await work


async def turns():
    for _ in range(20):
        await asyncio.sleep(0)


class TestTheSameOutputsTwice:
    async def test_failures_of_a_batch_cost_one_retry_each(self, world):
        call = await world.call(kind=CallKind.MAP, invocation=Invocation.ASYNC, inputs=3, retries=1, initial_delay_ms=SLOW)
        task = world.a_task()
        items = await world.claim(task, batch=3, linger=1)
        world.store.hold()
        works = [in_background(world.claims.put_outputs(task.id, outputs_of(items, FAILED))) for _ in range(2)]
        await turns()
        world.store.let()
        await settled(*works)
        assert ([live.attempt for live in call.inputs.values()], call.unfinished, call.outputs) == ([1, 1, 1], 3, [])
        assert len(world.calls.find_pool(world.function.id).paused) == 3

    async def test_an_interruption_that_is_told_again_does_not_end_the_input(self, world):
        call, task = await world.call(invocation=Invocation.ASYNC), world.a_task()
        items = await world.claim(task)
        world.tasks.stop(task, "test")
        for _ in range(2):
            await world.claims.put_outputs(task.id, outputs_of(items, TERMINATED))
        (again,) = await world.claim(world.a_task())
        assert (again.input_id, call.unfinished, call.inputs[0].losses) == (items[0].input_id, 1, 1)

    async def test_an_interruption_that_is_told_again_leaves_the_next_try_alone(self, world):
        call, task, other = await world.call(invocation=Invocation.ASYNC), world.a_task(), world.a_task()
        items = await world.claim(task)
        world.tasks.stop(task, "test")
        await world.claims.put_outputs(task.id, outputs_of(items, TERMINATED))
        await world.claim(other)
        await world.claims.put_outputs(task.id, outputs_of(items, TERMINATED))
        assert (call.inputs[0].task_id, call.inputs[0].losses) == (other.id, 1)


class TestWhileAResultIsWritten:
    async def test_an_interruption_does_not_queue_what_is_being_finished(self, world):
        call, task = await world.call(invocation=Invocation.ASYNC), world.a_task()
        items = await world.claim(task)
        world.store.hold()
        timeout = in_background(world.claims.time_out(call.inputs[0], 1))
        await turns()
        world.tasks.stop(task, "test")
        interrupted = in_background(world.claims.put_outputs(task.id, outputs_of(items, TERMINATED)))
        await turns()
        world.store.let()
        await settled(timeout, interrupted)
        pool = world.calls.find_pool(world.function.id)
        assert (len(pool), pool.running, call.unfinished, len(call.outputs)) == (0, 0, 0, 1)

    async def test_a_synchronous_neighbour_is_answered_once_though_its_task_ends(self, world):
        durable, quick = await world.call(invocation=Invocation.ASYNC), await world.call()
        task = world.a_task()
        items = await world.claim(task, batch=2, linger=1)
        world.store.hold()
        answered = in_background(world.claims.put_outputs(task.id, outputs_of(items)))
        await turns()
        ended = in_background(world.tasks.record_exit(task.id, LOST))
        await turns()
        world.store.let()
        await settled(answered, ended)
        pool = world.calls.find_pool(world.function.id)
        assert (len(pool), pool.running) == (0, 0)
        assert [(call.unfinished, len(call.outputs)) for call in (durable, quick)] == [(0, 1), (0, 1)]

    async def test_others_write_between_the_results_of_a_large_map(self, world):
        call = await world.call(kind=CallKind.MAP, invocation=Invocation.ASYNC, inputs=900)
        world.store.hold()
        cancelled = in_background(world.calls.cancel(call.id))
        world.store.let(2)  # the cancellation itself, and one more
        await turns()
        async with MemoryStore.transaction(world.store) as tx:
            finished = [item for item in await tx.calls.inputs(call.id) if item.finished_at]
        assert 0 < len(finished) < 900
        world.store.let()
        await settled(cancelled)
        assert (call.unfinished, len(call.outputs)) == (0, 900)

    async def test_a_call_that_is_cancelled_while_a_retry_is_written_ends(self, world):
        """The failure comes from a task of an earlier engine, so the input waits in the queue."""
        call, task = await world.call(invocation=Invocation.ASYNC, retries=1), world.a_task()
        live = call.inputs[0]
        world.store.hold()
        cancelled = in_background(world.calls.cancel(call.id))
        await turns()
        output = api_pb2.FunctionPutOutputsItem(input_id=live.id, result=R(status=FAILED))
        failed = in_background(world.claims.put_outputs(task.id, [output]))
        await turns()
        world.store.let()
        await settled(failed, cancelled)
        assert (call.unfinished, call.latest[0].result.status) == (0, TERMINATED)


class TestDeliveries:
    async def test_an_input_that_never_arrived_does_not_fail_with_a_task_that_leaves(self, world):
        call, task = await world.call(invocation=Invocation.ASYNC), world.a_task()
        await world.claim(task)
        world.claims.recover(task.id, {})
        await world.tasks.record_exit(task.id, TaskExit(kind=ExitKind.FINISHED))
        assert (call.unfinished, len(await world.claim(world.a_task()))) == (1, 1)


class TestAdding:
    async def test_a_call_that_its_reader_lets_go_meanwhile_is_known_again(self, world):
        call, task = await world.call(kind=CallKind.MAP, invocation=Invocation.ASYNC), world.a_task()
        await world.answer(task, (await world.claim(task))[0])
        world.store.hold()
        added = in_background(world.calls.put_inputs(call.id, [an_item(1)]))
        await turns()
        await world.outputs(call, clear_on_success=True)
        world.store.let()
        await settled(added)
        assert world.calls.find_live(call.id) is call

    async def test_what_is_done_and_on_disk_takes_no_room(self):
        world = World(max_queued_inputs=2)
        task = world.a_task()
        for _ in range(5):
            call = await world.call(invocation=Invocation.ASYNC)
            await world.answer(task, (await world.claim(task))[0])
            assert (await world.outputs(call, start_idx=0, end_idx=0)).outputs
        for _ in range(2):
            await world.call(invocation=Invocation.ASYNC)
        with pytest.raises(ResourceExhausted):
            await world.call(invocation=Invocation.ASYNC)


class TestCancellation:
    async def test_a_call_that_says_to_be_its_own_parent_is_cancelled(self, world):
        call_id, input_id, task = new_call_id(), new_input_id(), world.a_task()
        call = world.calls.resume(world.function, call_id, kind=CallKind.UNARY, parent_input_id=input_id)
        world.calls.retry(call, InputTicket(call_id, input_id, 0, 0), api_pb2.FunctionInput(), 1)
        await world.claim(task)
        assert [live.id for live in await world.calls.cancel(call_id)] == [input_id]


class TestAStoreThatFails:
    async def test_all_inputs_of_a_task_that_has_ended_run_again(self):
        world = World(store=FailingStore())
        call, task = await world.call(kind=CallKind.MAP, invocation=Invocation.ASYNC, inputs=3, retries=1), world.a_task()
        items = await world.claim(task, batch=3, linger=1)
        world.store.is_broken = True
        with pytest.raises(OSError, match="disk"):
            await world.tasks.record_exit(task.id, TaskExit(kind=ExitKind.CRASHED, code=1))
        world.store.is_broken = False
        again = await world.claim(world.a_task(), batch=3, linger=1)
        assert {item.input_id for item in again} == {item.input_id for item in items}
        assert world.calls.find_pool(world.function.id).running == call.unfinished == 3


class TestForeignTickets:
    async def test_a_ticket_of_another_call_is_refused(self, world):
        mine, other = await world.call(retries=1), await world.call()
        mine.inputs.clear()
        with pytest.raises(InvalidRequest):
            world.calls.retry(mine, ticket_of(other), api_pb2.FunctionInput(), 1)

    async def test_an_input_of_another_call_stays_its_own(self, world):
        mine, other = await world.call(), await world.call(invocation=Invocation.ASYNC)
        live = other.inputs[0]
        ticket = InputTicket(mine.id, live.id, 7, 0)
        with pytest.raises(InvalidRequest):
            world.calls.retry(mine, ticket, api_pb2.FunctionInput(), 1)
        assert world.calls.find_input(live.id) is live


class TestWhatIsKept:
    async def test_an_answer_that_is_asked_for_many_times_counts_once(self, world):
        call, task = await world.call(), world.a_task()
        await world.answer(task, (await world.claim(task))[0], b"x" * 1000)
        for _ in range(3):
            await world.outputs(call, start_idx=0, end_idx=0, clear_on_success=True)
        book: CallBook = world.calls._book
        assert book._answer_bytes < 2 * 1000

    async def test_large_arguments_of_answered_calls_are_counted(self, world):
        call, task = await world.call(inputs=0), world.a_task()
        await world.calls.put_inputs(call.id, [an_item(0, b"x" * 1000)])
        await world.answer(task, (await world.claim(task))[0])
        await world.outputs(call, start_idx=0, end_idx=0, clear_on_success=True)
        assert world.calls._book._answer_bytes > 1000

    @pytest.mark.parametrize("invocation", list(Invocation))
    async def test_a_call_that_never_gets_an_input_is_forgotten(self, invocation):
        clock = FakeClock()
        world = World(clock=clock)
        call = await world.call(kind=CallKind.MAP, invocation=invocation, inputs=0)
        clock.move(601)
        world.calls.forget_silent()
        assert world.calls.find_live(call.id) is None

    async def test_a_call_with_open_inputs_is_kept_however_long(self):
        clock = FakeClock()
        world = World(clock=clock)
        call = await world.calls.create(world.function, kind=CallKind.UNARY, invocation=Invocation.SYNC, items=[an_item(0)])
        clock.move(6000)
        world.calls.forget_silent()
        assert world.calls.find_live(call.id) is call

    async def test_inputs_that_are_sent_again_after_the_end_do_not_keep_their_call(self):
        clock = FakeClock()
        world = World(clock=clock)
        call, task = await world.call(kind=CallKind.MAP), world.a_task()
        await world.answer(task, (await world.claim(task))[0])
        await world.calls.put_inputs(call.id, [an_item(0)])
        clock.move(601)
        world.calls.forget_silent()
        assert world.calls.find_live(call.id) is None

    async def test_what_a_task_has_in_hand_is_what_it_said_last(self, world):
        task = world.a_task()
        for n in range(3):
            world.claims.recover(task.id, {f"in-{n}": 0})
        assert list(world.calls.inputs._in_hand) == ["in-2"]

    async def test_a_call_as_it_was_on_disk_does_not_displace_the_one_that_runs(self):
        world = World()
        call, task = await world.call(kind=CallKind.MAP, invocation=Invocation.ASYNC), world.a_task()
        await world.answer(task, (await world.claim(task))[0])
        old = await world.calls._durable.recall(call.id)
        await world.calls.put_inputs(call.id, [an_item(1)])
        world.calls._book.note_answered(old)
        assert world.calls.find_live(call.id) is call
        assert world.calls.find_input(call.inputs[1].id) is call.inputs[1]


async def test_what_was_lost_while_its_neighbours_timeout_was_written_is_not_timed_out(tmp_path):
    plane = ControlPlane(tmp_path, store=HeldStore())
    _, live = await plane.deploy(timeout_secs=5)
    task = await plane.a_ready_task(live)
    call = await plane.call(live, kind=CallKind.MAP, invocation=Invocation.ASYNC, inputs=2)
    _, second = [*await plane.claim(task), *await plane.claim(task)]
    plane.clock.move(6)
    plane.store.hold()
    step = in_background(plane.liveness.step())
    await turns()
    plane.tasks.stop(task, "test")
    await plane.claims.put_outputs(task.id, outputs_of([second], TERMINATED))
    plane.store.let()
    await settled(step)
    assert (call.unfinished, list(call.latest)) == (1, [0])
    plane.log_store.close()
