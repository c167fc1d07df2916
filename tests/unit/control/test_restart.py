"""The start of an engine on what another one left."""

import pytest
from fakes.control import ControlPlane

from freehold.domain.calls import CallKind, Invocation
from freehold.domain.ids import CallId, InputId
from freehold.domain.tasks import ExitKind, TaskState
from freehold.wire.tickets import InputTicket


@pytest.fixture
def reborn(tmp_path, plane):
    """A second control plane on the same store and machine, started after the first was killed."""
    planes = []

    async def make(*left):
        await plane.journal.flush()
        planes.append(successor := ControlPlane(tmp_path, store=plane.store, clock=plane.clock))
        successor.worker.left = {task.id for task in left}
        await successor.restart.restore()
        return successor

    yield make
    for successor in planes:
        successor.log_store.close()


async def stored(plane, task):
    await plane.journal.flush()
    async with plane.store.transaction() as tx:
        return await tx.tasks.get(task.id)


class TestAdopted:
    async def test_a_container_that_still_lives_takes_inputs_as_before(self, plane, reborn):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)

        after = await reborn(task)
        await after.call(await after.functions.live(live.id))
        await after.autoscaler.step()

        assert len(await after.claim(task)) == 1
        assert [each.id for each in after.tasks_of(live)] == [task.id], "no other was started for it"

    async def test_it_proves_itself_with_the_token_that_it_has(self, plane, reborn):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)

        after = await reborn(task)

        assert after.tasks.accepts_task(task.id, task.token)
        assert not after.tasks.accepts_task(task.id, "")
        assert not after.tasks.accepts_task(task.id, task.task.token_hash)

    async def test_it_books_the_machine_as_before(self, plane, reborn):
        _, live = await plane.deploy(resources={"memory_mb": 3000})
        task = await plane.a_ready_task(live)

        after = await reborn(task)
        await after.call(live, kind=CallKind.MAP, inputs=5)
        await after.autoscaler.step()

        assert [each.id for each in after.tasks_of(live)] == [task.id], "no other has room beside it"

    async def test_its_worker_is_told_to_let_it_run(self, plane, reborn):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)

        after = await reborn(task)
        await after.scheduler.step()

        assert set(after.worker.desired) == {task.id}

    async def test_its_story_says_so(self, plane, reborn):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)

        after = await reborn(task)

        assert (await after.events(task.id))[-1] == "task_adopted"
        assert (await stored(after, task)).state is TaskState.READY

    async def test_one_whose_app_has_stopped_is_ended_in_good_order(self, plane, reborn):
        app, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        await plane.apps.stop(app.id, "test")

        after = await reborn(task)
        await after.scheduler.step()

        assert after.worker.desired == {}
        assert after.tasks.find(task.id), "until its worker reports the end"

    async def test_one_of_an_older_version_is_replaced(self, plane, reborn):
        app, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        await plane.publish(app, await plane.define(app, existing=live.id, image_id=live.spec.image_id))

        after = await reborn(task)
        await after.autoscaler.step()
        (successor,) = [other for other in after.tasks_of(live) if other.id != task.id]
        after.tasks.record_ready(successor)
        await after.autoscaler.step()

        assert after.tasks.find(task.id).state is TaskState.DRAINING

    async def test_it_keeps_what_restricts_it(self, plane, reborn):
        _, live = await plane.deploy(untrusted=True)
        task = await plane.a_ready_task(live)

        assert (await reborn(task)).tasks.is_restricted(task.id)


class TestLost:
    async def test_a_container_that_is_gone_is_written_off(self, plane, reborn):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)

        after = await reborn()

        assert (await stored(after, task)).exit.kind is ExitKind.LOST
        assert not after.tasks.accepts_task(task.id, task.token)
        assert (await after.events(task.id))[-1] == "task_ended"

    async def test_its_inputs_wait_for_another(self, plane, reborn):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        await plane.call(live, invocation=Invocation.ASYNC)
        await plane.claim(task)

        after = await reborn()
        await after.autoscaler.step()

        (other,) = after.tasks_of(live)
        assert other.id != task.id
        assert len(await after.claim(other)) == 1


class TestSilent:
    """An adopted container that does not ask for inputs is busy with one whose caller is gone."""

    async def test_a_new_input_does_not_wait_for_it(self, plane, reborn):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        after = await reborn(task)
        await after.call(await after.functions.live(live.id))

        after.clock.move(4)
        await after.autoscaler.step()

        assert len(after.tasks_of(live)) == 2

    async def test_it_does_not_count_as_idle(self, plane, reborn):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        after = await reborn(task)

        after.clock.move(200)
        await after.autoscaler.step()

        assert after.tasks.find(task.id).state is TaskState.READY

    async def test_it_ends_with_the_time_that_any_input_has(self, plane, reborn):
        _, live = await plane.deploy(timeout_secs=300)
        task = await plane.a_ready_task(live)
        after = await reborn(task)

        after.clock.move(299)
        await after.liveness.step()
        assert not after.tasks.find(task.id).is_stopping
        after.clock.move(2)
        await after.liveness.step()
        assert after.tasks.find(task.id).is_stopping


class TestInHand:
    """What an adopted container brings along when it connects again is its to finish, whatever else was planned."""

    async def at_work(self, plane, reborn, live):
        """A container with an input of a synchronous call, of which the next engine knows nothing."""
        task = await plane.a_ready_task(live)
        await plane.call(live)
        (item,) = await plane.claim(task)
        after = await reborn(task)
        return after, after.tasks.find(task.id), item

    async def sent_again(self, plane, live, item):
        """By the client that waits for it."""
        call = plane.calls.resume(live.function, CallId("fc-1"), kind=CallKind.UNARY)
        ticket = InputTicket(call_id=call.id, input_id=InputId(item.input_id), idx=0, attempt=item.retry_count)
        return plane.calls.retry(call, ticket, item.input, item.retry_count)

    @pytest.mark.parametrize("container_is_first", [True, False])
    async def test_it_is_not_given_to_another(self, plane, reborn, container_is_first):
        _, live = await plane.deploy()
        after, task, item = await self.at_work(plane, reborn, live)

        if container_is_first:
            after.claims.recover(task.id, {item.input_id: item.retry_count})
        again = await self.sent_again(after, live, item)
        after.claims.recover(task.id, {item.input_id: item.retry_count})
        after.clock.move(4)
        await after.autoscaler.step()

        assert again.task_id == task.id
        assert [each.id for each in after.tasks_of(live)] == [task.id]
        await after.answer(task, item)
        assert len(again.call.outputs) == 1

    async def test_what_it_has_answered_meanwhile_is_not_its_any_more(self, plane, reborn):
        _, live = await plane.deploy()
        after, task, item = await self.at_work(plane, reborn, live)
        after.claims.recover(task.id, {item.input_id: item.retry_count})
        await after.answer(task, item)  # nobody knows the input yet

        again = await self.sent_again(after, live, item)

        assert not again.is_running

    async def test_another_try_than_the_one_that_is_wanted_is_not_taken_for_it(self, plane, reborn):
        _, live = await plane.deploy()
        after, task, item = await self.at_work(plane, reborn, live)
        again = await self.sent_again(after, live, item)

        after.claims.recover(task.id, {item.input_id: item.retry_count + 1})

        assert not again.is_running
