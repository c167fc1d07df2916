"""Each controller looks at everything due; a second look changes nothing."""

import asyncio
import time

import pytest
from fakes.control import PYTHON, ControlPlane
from modal_proto import api_pb2

from freehold.control.controllers import loop
from freehold.control.controllers.loop import Controller
from freehold.control.wakeups import Wakeup
from freehold.domain.apps import AppState
from freehold.domain.calls import CallKind, Invocation
from freehold.domain.images import ImageConfig, ImageState
from freehold.domain.tasks import ExitKind, TaskExit, TaskState

R = api_pb2.GenericResult


class TestAutoscaler:
    async def test_an_input_that_waits_gets_one_task_however_often_one_looks(self, plane):
        _, live = await plane.deploy()
        await plane.call(live)
        await plane.autoscaler.step()
        await plane.autoscaler.step()
        (task,) = plane.tasks_of(live)
        assert task.state is TaskState.PENDING

    async def test_a_map_gets_as_many_tasks_as_its_function_may_have(self, plane):
        _, live = await plane.deploy(autoscaler_settings={"max_containers": 3})
        await plane.call(live, kind=CallKind.MAP, inputs=10)
        await plane.autoscaler.step()
        assert len(plane.tasks_of(live)) == 3

    async def test_the_machine_takes_only_so_many_tasks(self, tmp_path):
        plane = ControlPlane(tmp_path, max_tasks=2)
        _, live = await plane.deploy()
        await plane.call(live, kind=CallKind.MAP, inputs=10)
        await plane.autoscaler.step()
        await plane.autoscaler.step()
        assert len(plane.tasks_of(live)) == 2

    async def test_an_idle_task_is_drained_once_its_window_is_over(self, plane):
        _, live = await plane.deploy(autoscaler_settings={"scaledown_window": 10})
        task = await plane.a_ready_task(live)
        plane.clock.move(9)
        await plane.autoscaler.step()
        assert task.state is TaskState.READY
        plane.clock.move(2)
        await plane.autoscaler.step()
        assert task.state is TaskState.DRAINING

    async def test_tasks_of_the_old_definition_leave_once_a_new_one_is_ready(self, plane):
        app, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        await plane.publish(app, await plane.define(app, existing=live.id))
        await plane.autoscaler.step()
        assert task.state is TaskState.READY
        (successor,) = [other for other in plane.tasks_of(live) if other is not task]
        plane.tasks.record_ready(successor)
        await plane.autoscaler.step()
        assert (task.state, successor.state) == (TaskState.DRAINING, TaskState.READY)

    async def test_tasks_of_bound_functions_are_replaced_in_the_same_way(self, plane):
        app, base = await plane.deploy()
        live = await plane.functions.bind(base.id, api_pb2.FunctionBindParamsRequest(serialized_params=b"pear"))
        task = await plane.a_ready_task(live)
        await plane.publish(app, await plane.define(app, existing=base.id))
        await plane.autoscaler.step()
        assert (task.state, len(plane.tasks_of(live))) == (TaskState.READY, 2)

    async def test_a_new_version_that_cannot_start_costs_no_input(self, plane):
        app, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        await plane.publish(app, await plane.define(app, existing=live.id))
        await plane.autoscaler.step()
        (successor,) = [other for other in plane.tasks_of(live) if other is not task]
        call = await plane.call(live)
        await plane.tasks.record_exit(successor.id, TaskExit(kind=ExitKind.CRASHED, code=1))
        await plane.autoscaler.step()
        assert (task.state, call.unfinished) == (TaskState.READY, 1)
        [item] = await plane.claim(task)
        await plane.answer(task, item)
        assert call.outputs[0].result.data == b"result"

    async def test_a_task_that_is_used_once_takes_no_second_input(self, plane):
        _, live = await plane.deploy(single_use_containers=True)
        await plane.call(live, kind=CallKind.MAP, inputs=2)
        await plane.autoscaler.step()
        first, second = plane.tasks_of(live)
        await plane.claim(first)
        assert (first.state, second.state) == (TaskState.DRAINING, TaskState.PENDING)
        assert (await plane.claim(first))[0].kill_switch

    async def test_inputs_that_waited_over_a_redeploy_run_the_new_definition(self, plane):
        app, live = await plane.deploy()
        await plane.call(live)
        newer = await plane.define(app, existing=live.id)
        await plane.publish(app, newer)
        await plane.autoscaler.step()
        assert [task.task.definition_id for task in plane.tasks_of(live)] == [newer.definition_id]

    async def test_tasks_of_a_function_that_is_gone_leave(self, plane):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        plane.functions.retire(frozenset({live.id}))
        await plane.autoscaler.step()
        assert task.state is TaskState.DRAINING

    async def test_a_crashing_function_is_started_again_only_after_a_pause(self, plane):
        _, live = await plane.deploy(autoscaler_settings={"min_containers": 1})
        await plane.autoscaler.step()
        (task,) = plane.tasks_of(live)
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.CRASHED, code=1))
        await plane.autoscaler.step()
        assert not plane.tasks_of(live)
        plane.clock.move(60)
        await plane.autoscaler.step()
        assert len(plane.tasks_of(live)) == 1

    async def test_inputs_from_before_a_restart_get_a_task(self, plane, tmp_path):
        _, live = await plane.deploy()
        await plane.call(live, invocation=Invocation.ASYNC)
        reborn = ControlPlane(tmp_path, store=plane.store, clock=plane.clock)
        await reborn.calls.restore()
        await reborn.autoscaler.step()
        assert len(reborn.tasks_of(live)) == 1

    async def test_inputs_of_an_app_that_stopped_before_a_restart_end(self, plane, tmp_path):
        app, live = await plane.deploy()
        call = await plane.call(live, invocation=Invocation.ASYNC)
        reborn = ControlPlane(tmp_path, store=plane.store, clock=plane.clock)
        await reborn.calls.restore()
        await reborn.apps.stop(app.id, "test")
        await reborn.autoscaler.step()
        assert reborn.calls.get_live(call.id).unfinished == 0

    async def test_a_build_function_is_left_to_its_build(self, plane):
        _, live = await plane.deploy(is_builder_function=True)
        await plane.call(live)
        await plane.autoscaler.step()
        assert not plane.tasks_of(live)

    async def test_the_wish_for_a_task_follows_its_input_at_once(self, plane):
        """With the real loop, as the engine runs it: woken by demand."""
        _, live = await plane.deploy()
        took = []
        async with asyncio.timeout(40), asyncio.TaskGroup() as group:
            running = group.create_task(loop.run(Controller("test", plane.autoscaler.step, changed=plane.demand, every=60)))
            for _ in range(5):
                await asyncio.sleep(0.01)
                started, before = time.monotonic(), len(plane.tasks_of(live))
                await plane.call(live)
                while len(plane.tasks_of(live)) == before:
                    await plane.changed.wait(plane.changed.generation, 1)
                took.append(time.monotonic() - started)
            running.cancel()
        assert min(took) < 1, took  # some milliseconds, on a machine that has nothing else to do

    async def test_a_task_is_started_for_the_reason_that_its_event_gives(self, plane):
        _, live = await plane.deploy()
        await plane.call(live)
        await plane.autoscaler.step()
        (task,) = plane.tasks_of(live)
        assert (await plane.story(task.id))[0].cause == "1 wanted for 1 queued and 0 running"

    async def test_the_same_decision_in_a_row_is_one_event(self, plane):
        _, live = await plane.deploy(autoscaler_settings={"min_containers": 1})
        await plane.autoscaler.step()
        (task,) = plane.tasks_of(live)
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.CRASHED, code=1))
        for _ in range(3):
            await plane.autoscaler.step()
        assert await plane.events(live.id) == ["tasks_started", "start_held_back"]

    async def test_a_call_uses_the_task_that_worked_last_so_that_the_others_fall_idle(self, plane):
        _, live = await plane.deploy()
        tasks = [await plane.a_ready_task(live) for _ in range(3)]
        used = []
        async with asyncio.TaskGroup() as group:
            waiting = {task.id: group.create_task(plane.claims.claim(task.id)) for task in tasks}
            for _ in range(4):
                plane.clock.move(1)
                await asyncio.sleep(0)
                await plane.call(live)
                (done,), _ = await asyncio.wait(waiting.values(), return_when=asyncio.FIRST_COMPLETED)
                task = plane.tasks.get(next(name for name, claim in waiting.items() if claim is done))
                used.append(task.id)
                await plane.answer(task, done.result().inputs[0])
                waiting[task.id] = group.create_task(plane.claims.claim(task.id))
            for claim in waiting.values():
                claim.cancel()
        assert len(set(used)) == 1

    async def test_requests_book_the_machine(self, plane):
        _, live = await plane.deploy(resources={"memory_mb": 1500})
        await plane.call(live, kind=CallKind.MAP, inputs=10)
        await plane.autoscaler.step()
        assert len(plane.tasks_of(live)) == 2  # of 4096 MiB

    async def test_a_request_that_is_larger_than_the_machine_runs_alone_on_it(self, plane):
        _, live = await plane.deploy(resources={"memory_mb": 10**6, "milli_cpu": 10**6})
        await plane.call(live, kind=CallKind.MAP, inputs=10)
        await plane.autoscaler.step()
        assert len(plane.tasks_of(live)) == 1


class TestFullMachine:
    async def two_functions(self, tmp_path, **fields):
        """On a machine for two tasks, the first function has both."""
        plane = ControlPlane(tmp_path, max_tasks=2)
        _, first, second = await plane.deploy("f", "g", **fields)
        tasks = [await plane.a_ready_task(first) for _ in range(2)]
        plane.clock.move(5)
        return plane, first, second, tasks

    async def test_an_idle_task_makes_room_for_a_function_that_has_none(self, tmp_path):
        plane, _, second, tasks = await self.two_functions(tmp_path)
        await plane.call(second)
        await plane.autoscaler.step()
        await plane.autoscaler.step()
        assert [task.state for task in tasks].count(TaskState.DRAINING) == 1
        gone = next(task for task in tasks if task.state is TaskState.DRAINING)
        assert second.id in (await plane.story(gone.id))[-1].cause
        await plane.tasks.record_exit(gone.id, TaskExit(kind=ExitKind.FINISHED))
        await plane.autoscaler.step()
        assert len(plane.tasks_of(second)) == 1

    async def test_that_the_machine_is_full_is_one_event(self, tmp_path):
        plane, _, second, _ = await self.two_functions(tmp_path, autoscaler_settings={"min_containers": 2})
        await plane.call(second)
        for _ in range(3):
            await plane.autoscaler.step()
        assert (await plane.events(second.id)) == ["machine_full"]

    async def test_no_function_starves_behind_a_long_queue(self, tmp_path):
        plane, first, second, tasks = await self.two_functions(tmp_path)
        await plane.call(first, kind=CallKind.MAP, inputs=50)
        for task in tasks:
            await plane.claim(task)
        await plane.call(second)
        await plane.autoscaler.step()
        assert all(task.state is TaskState.READY for task in tasks)
        plane.clock.move(1)
        await plane.autoscaler.step()
        (leaving,) = [task for task in tasks if task.state is TaskState.DRAINING]
        await plane.tasks.record_exit(leaving.id, TaskExit(kind=ExitKind.FINISHED))
        await plane.autoscaler.step()
        assert len(plane.tasks_of(second)) == 1


class TestScheduler:
    async def wanted(self, plane, **fields):
        _, live = await plane.deploy(**fields)
        await plane.call(live)
        await plane.autoscaler.step()
        return live, plane.tasks_of(live)[0]

    async def test_the_worker_is_told_the_whole_set_each_time(self, plane):
        _, task = await self.wanted(plane)
        await plane.scheduler.step()
        first = plane.worker.desired
        await plane.scheduler.step()
        assert plane.worker.desired == first
        assert set(first) == {task.id}

    async def test_a_task_that_should_stop_is_no_longer_desired_and_has_not_ended_yet(self, plane):
        _, task = await self.wanted(plane)
        await plane.scheduler.step()
        plane.tasks.record_ready(task)
        plane.tasks.stop(task, "test")
        await plane.scheduler.step()
        assert (plane.worker.desired, plane.worker.killed) == ({}, [])
        assert plane.tasks.find(task.id) is task

    async def test_a_task_that_has_run_nothing_is_ended_without_grace(self, plane):
        _, task = await self.wanted(plane)
        await plane.scheduler.step()
        plane.tasks.stop(task, "test")
        await plane.scheduler.step()
        assert plane.worker.killed == [task.id]

    async def test_a_task_that_is_stopped_before_the_worker_knows_of_it_ends_at_once(self, plane):
        _, task = await self.wanted(plane)
        plane.tasks.stop(task, "test")
        await plane.scheduler.step()
        assert plane.tasks.find(task.id) is None

    async def test_who_waits_for_a_task_that_cannot_be_launched_is_told_why_in_the_end(self, plane):
        image = await plane.an_image(config=ImageConfig())
        _, live = await plane.deploy(image_id=image.id)
        call = await plane.call(live)
        for _ in range(3):
            await plane.autoscaler.step()
            await plane.scheduler.step()
            plane.clock.move(60)
        assert call.outputs[0].result.status == R.GENERIC_STATUS_INIT_FAILURE
        assert "has no Python on its PATH" in call.outputs[0].result.exception


class TestLiveness:
    async def test_a_task_that_is_not_ready_in_time_is_stopped_and_who_waits_is_told(self, plane):
        _, live = await plane.deploy(startup_timeout_secs=20)
        call = await plane.call(live)
        await plane.autoscaler.step()
        (task,) = plane.tasks_of(live)
        plane.tasks.record_started(task.id)
        plane.clock.move(21)
        await plane.liveness.step()
        assert task.is_stopping
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.STOPPED))
        assert "startup_timeout of 20 s" in call.outputs[0].result.exception
        assert not plane.tasks.may_start(live.id)

    async def test_an_input_that_takes_too_long_is_answered_and_its_task_ended(self, plane):
        _, live = await plane.deploy(timeout_secs=5)
        call, task = await plane.call(live), await plane.a_ready_task(live)
        await plane.claim(task)
        plane.clock.move(6)
        await plane.liveness.step()
        await plane.liveness.step()
        (output,) = call.outputs
        assert (output.result.status, task.is_stopping) == (R.GENERIC_STATUS_TIMEOUT, True)

    async def test_a_task_that_does_not_leave_after_its_last_input_is_stopped(self, plane):
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        plane.tasks.drain(task, "test")
        plane.clock.move(29)
        await plane.liveness.step()
        assert not task.is_stopping
        plane.clock.move(2)
        await plane.liveness.step()
        assert task.is_stopping

    async def test_a_draining_task_may_finish_its_input(self, plane):
        _, live = await plane.deploy(timeout_secs=600)
        await plane.call(live)
        task = await plane.a_ready_task(live)
        await plane.claim(task)
        plane.tasks.drain(task, "test")
        plane.clock.move(100)
        await plane.liveness.step()
        assert not task.is_stopping

    async def test_the_log_of_an_app_is_done_once_its_last_task_is(self, plane):
        app, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        await plane.apps.stop(app.id, "test")
        await plane.liveness.step()
        assert not plane.logs.is_done(app.id)
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.FINISHED))
        await plane.liveness.step()
        assert plane.logs.is_done(app.id)


class TestBuilds:
    async def test_a_wanted_image_is_given_to_the_worker_once(self, plane):
        image = await plane.an_image(state=ImageState.WANTED)
        await plane.builds.step()
        await plane.builds.step()
        assert [spec.image_id for spec in plane.worker.builds] == [image.id]
        assert (await plane.images.get(image.id)).state is ImageState.BUILDING

    async def test_a_build_that_a_restart_cut_is_given_again(self, plane, tmp_path):
        image = await plane.an_image(state=ImageState.WANTED)
        await plane.builds.step()
        reborn = ControlPlane(tmp_path, store=plane.store, clock=plane.clock)
        await reborn.builds.step()
        assert [spec.image_id for spec in reborn.worker.builds] == [image.id]

    async def test_the_steps_get_their_bases_context_and_secrets(self, plane):
        base, mount = await plane.an_image(), await plane.a_mount()
        await plane.an_image(
            "FROM base",
            "COPY . /",
            state=ImageState.WANTED,
            base_images=[{"docker_tag": "base", "image_id": base.id}],
            context_mount_id=mount.id,
        )
        await plane.builds.step()
        (spec,) = plane.worker.builds
        assert (spec.bases["base"].config, spec.context.id) == (PYTHON, mount.tree.id)

    async def test_an_image_over_one_that_failed_fails_with_its_reason(self, plane):
        base = await plane.an_image(state=ImageState.FAILED)
        image = await plane.an_image("FROM base", state=ImageState.WANTED, base_images=[{"docker_tag": "base", "image_id": base.id}])
        await plane.builds.step()
        image = await plane.images.get(image.id)
        assert image.state is ImageState.FAILED
        assert "no such package" in image.error

    async def test_a_build_that_could_not_be_given_for_a_fault_of_ours_is_given_at_the_next_look(self, plane):
        image = await plane.an_image(state=ImageState.WANTED)
        builds, plane.worker.builds = plane.worker.builds, None
        await plane.builds.step()
        plane.worker.builds = builds
        await plane.builds.step()
        assert [spec.image_id for spec in plane.worker.builds] == [image.id]


class TestOneOfMany:
    async def test_an_item_that_fails_holds_up_none_of_the_others(self):
        done = []

        async def step(item):
            if item == 2:
                raise ZeroDivisionError
            done.append(item)

        await loop.for_each("test", [1, 2, 3], step)
        assert done == [1, 3]


class TestBuildFunctions:
    async def a_build(self, plane, **fields):
        app = await plane.an_app(state=AppState.EPHEMERAL)
        base = await plane.an_image()
        live = await plane.define(app, "download", image_id=base.id, is_builder_function=True, **fields)
        image = await plane.an_image(
            state=ImageState.WANTED, base_images=[{"docker_tag": "base", "image_id": base.id}], build_function_id=live.id
        )
        await plane.builds.step()
        return image, live

    async def test_the_function_gets_its_one_input_and_its_success_is_the_verdict(self, plane):
        await self.a_build(plane)
        (spec,) = plane.worker.builds
        task = plane.tasks.get(spec.function.task_id)
        (item,) = await plane.claim(task)
        await plane.answer(task, item)
        assert await plane.reports.build_function_ended(task.id) == ""
        assert plane.tasks.find(task.id) is None

    async def test_a_function_that_ends_without_a_result_says_so(self, plane):
        await self.a_build(plane)
        (spec,) = plane.worker.builds
        await plane.claim(plane.tasks.get(spec.function.task_id))
        assert "exited with code 0" in await plane.reports.build_function_ended(spec.function.task_id)

    async def test_a_build_that_ends_before_its_function_ran_leaves_no_task_behind(self, plane):
        image, live = await self.a_build(plane)
        await plane.reports.build_finished(image.id, "no space left on device")
        assert not plane.tasks_of(live)
        plane.calls.forget_silent()
        assert plane.calls.find_pool(live.id) is None

    async def test_a_build_function_that_cannot_be_launched_fails_its_image_and_leaves_no_task_behind(self, plane):
        image, live = await self.a_build(plane, secret_ids=["st-gone"])
        assert (await plane.images.get(image.id)).state is ImageState.FAILED
        assert not plane.tasks_of(live)


class TestLoop:
    async def test_a_step_that_fails_is_tried_again(self):
        steps, changed, done = 0, Wakeup(), asyncio.Event()

        async def step():
            nonlocal steps
            steps += 1
            changed.notify()
            if steps == 2:
                done.set()
            msg = "a bug"
            raise RuntimeError(msg)

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            running = group.create_task(loop.run(Controller("test", step, changed=changed, every=60)))
            await done.wait()
            running.cancel()

    async def test_a_hint_during_a_step_brings_another(self):
        steps, changed, twice = 0, Wakeup(), asyncio.Event()

        async def step():
            nonlocal steps
            steps += 1
            if steps == 1:
                changed.notify()
            else:
                twice.set()

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            running = group.create_task(loop.run(Controller("test", step, changed=changed, every=60)))
            await twice.wait()
            running.cancel()


@pytest.mark.parametrize("kind", [ExitKind.STOPPED, ExitKind.FINISHED])
async def test_a_task_that_was_asked_to_leave_while_starting_is_no_failed_start(plane, kind):
    _, live = await plane.deploy()
    task = plane.tasks.create(live.function, live.definition_id, "test")
    plane.tasks.stop(task, "test")
    await plane.tasks.record_exit(task.id, TaskExit(kind=kind))
    assert plane.tasks.may_start(live.id)


class TestVoice:
    async def test_a_task_that_falls_silent_is_killed_without_grace(self, plane):
        _, live = await plane.deploy(timeout_secs=1000)
        task = await plane.a_ready_task(live)
        await plane.call(live)
        [item] = await plane.claim(task)
        plane.tasks.hear(task)
        plane.clock.move(299)
        await plane.liveness.step()
        assert not task.is_stopping
        plane.clock.move(2)
        await plane.liveness.step()
        await plane.scheduler.step()
        assert plane.worker.killed == [task.id]
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.STOPPED))
        other = await plane.a_ready_task(live)
        assert [again.input_id for again in await plane.claim(other)] == [item.input_id]

    async def test_a_task_that_never_spoke_has_its_startup_timeout(self, plane):
        _, live = await plane.deploy(startup_timeout_secs=1000)
        task = plane.tasks.create(live.function, live.definition_id, "test")
        plane.clock.move(900)
        await plane.liveness.step()
        assert not task.is_stopping


class TestInterruption:
    async def interrupted(self, plane, status):
        """What a container says of its input after it was told to stop."""
        _, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        call = await plane.call(live)
        [item] = await plane.claim(task)
        plane.tasks.stop(task, "test")
        output = api_pb2.FunctionPutOutputsItem(input_id=item.input_id, result=R(status=status))
        await plane.claims.put_outputs(task.id, [output])
        return call, task

    async def test_an_input_that_was_given_up_for_a_stop_runs_again(self, plane):
        call, task = await self.interrupted(plane, R.GENERIC_STATUS_TERMINATED)
        assert call.unfinished == 1
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.STOPPED))
        assert len(plane.calls.find_pool(call.function_id)) == 1

    async def test_one_that_finished_in_its_grace_is_finished(self, plane):
        call, _ = await self.interrupted(plane, R.GENERIC_STATUS_SUCCESS)
        assert call.unfinished == 0
