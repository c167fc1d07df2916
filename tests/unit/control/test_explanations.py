"""`freehold why`: from an id or a name to what is known of it."""

from datetime import timedelta

import pytest
from modal_proto import api_pb2

from freehold.domain.calls import CallKind, Invocation
from freehold.domain.errors import InvalidRequest, NotFound
from freehold.domain.ids import new_call_id, new_input_id
from freehold.domain.tasks import ExitKind, TaskExit


async def ask(plane, subject):
    answer = await plane.explanations.why({"subject": subject})
    return answer, " ".join(answer["sentences"])


class TestSubjects:
    @pytest.mark.parametrize("name", ["shop.f", "shop/f"])
    async def test_a_function_is_found_by_its_name(self, plane, name):
        _, live = await plane.deploy()
        answer, text = await ask(plane, name)
        assert answer["subject"] == live.id
        assert "The next call starts one" in text

    async def test_names_with_points_are_understood(self, plane):
        _, live = await plane.deploy("Model.*", name="shop.v2")
        for name in ("shop.v2.Model", "shop.v2.Model.*", "shop.v2.Model.predict", "shop.v2/Model"):
            assert (await ask(plane, name))[0]["subject"] == live.id

    async def test_what_is_neither_id_nor_name_is_refused_with_what_to_do(self, plane):
        with pytest.raises(InvalidRequest, match="modal app list"):
            await ask(plane, "nonsense")
        with pytest.raises(NotFound, match="modal app list"):
            await ask(plane, "no.such")

    async def test_a_function_that_the_app_has_not_is_said_with_those_it_has(self, plane):
        await plane.deploy()
        with pytest.raises(NotFound, match="It has: f"):
            await ask(plane, "shop.g")

    async def test_an_app_is_answered_with_its_functions(self, plane):
        await plane.deploy("f", "Model.*")
        with pytest.raises(InvalidRequest, match=r"one of its functions: shop\.Model, shop\.f\."):
            await ask(plane, "shop")

    @pytest.mark.parametrize("make", [new_call_id, new_input_id])
    async def test_what_is_forgotten_is_said_to_be_kept_only_for_a_while(self, plane, make):
        with pytest.raises(NotFound, match="synchronous calls only for a while"):
            await ask(plane, make())


class TestStories:
    async def test_a_call_that_waits_says_what_for(self, plane):
        _, live = await plane.deploy(autoscaler_settings={"max_containers": 1})
        call = await plane.call(live, kind=CallKind.MAP, inputs=3)
        await plane.autoscaler.step()
        plane.clock.move(2)
        answer, text = await ask(plane, call.id)
        assert "0 of 3 inputs have a result" in text
        assert f"{call.inputs[1].id} has waited for 2.0 s, as number 2 of 3" in text
        assert "max_containers=1" in text
        assert "being started" in text
        assert answer["numbers"]["inputs"] == 3

    async def test_an_input_that_runs_says_where(self, plane):
        _, live = await plane.deploy()
        call, task = await plane.call(live), await plane.a_ready_task(live)
        await plane.claim(task)
        assert f"has been running on {task.id}" in (await ask(plane, call.inputs[0].id))[1]

    async def test_one_that_is_answered_says_how_it_ended(self, plane):
        _, live = await plane.deploy()
        call, task = await plane.call(live), await plane.a_ready_task(live)
        (item,) = await plane.claim(task)
        await plane.answer(task, item)
        text = (await ask(plane, call.id))[1]
        assert "it succeeded" in text
        assert f"It ran on {task.id} for 0.0 s." in text

    async def test_the_last_try_of_a_spawned_call_ends_with_its_result(self, plane):
        _, live = await plane.deploy()
        call, task = await plane.call(live, invocation=Invocation.ASYNC), await plane.a_ready_task(live)
        (item,) = await plane.claim(task)
        await plane.answer(task, item)
        assert f"It ran on {task.id} for 0.0 s." in (await ask(plane, call.id))[1]

    async def test_its_tries_and_its_result_are_events_though_none_was_written(self, plane):
        _, live = await plane.deploy()
        call, task = await plane.call(live), await plane.a_ready_task(live)
        (item,) = await plane.claim(task)
        plane.clock.move(2)
        await plane.answer(task, item)
        for subject in (call.id, item.input_id):
            events = (await plane.stories.of(subject)).events
            assert [event.kind for event in events] == ["call_made", "try_began", "result_written"]
            assert events[1].fields["container"] == task.id
            assert (events[2].cause, events[2].at - events[1].at) == ("success", timedelta(seconds=2))

    async def test_a_function_that_crashes_says_when_it_is_tried_again(self, plane):
        _, live = await plane.deploy(autoscaler_settings={"min_containers": 1})
        await plane.autoscaler.step()
        (task,) = plane.tasks_of(live)
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.CRASHED, code=1, detail="boom"))
        await plane.autoscaler.step()
        answer, text = await ask(plane, live.id)
        assert "1 start in a row failed; the next may be in 0.5 s" in text
        assert [event["kind"] for event in answer["events"]] == ["tasks_started", "start_held_back"]
        assert "It crashed with code 1. Its last words: boom" in (await ask(plane, task.id))[1]

    async def test_a_container_says_why_it_was_started_and_why_it_went(self, plane):
        _, live = await plane.deploy(autoscaler_settings={"scaledown_window": 10})
        await plane.call(live)
        await plane.autoscaler.step()
        (task,) = plane.tasks_of(live)
        (item,) = await plane.claim(task)
        await plane.answer(task, item)
        assert "1 wanted for 1 queued and 0 running" in (await ask(plane, task.id))[1]
        plane.clock.move(11)
        await plane.autoscaler.step()
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.FINISHED))
        assert "It ended by itself: idle for its scaledown_window of 10 s." in (await ask(plane, task.id))[1]

    async def test_a_class_says_what_its_variants_do(self, plane):
        _, live = await plane.deploy("Oven.*")
        variant = await plane.functions.bind(live.id, api_pb2.FunctionBindParamsRequest(function_id=live.id, serialized_params=b"x"))
        await plane.a_ready_task(variant)
        text = (await ask(plane, live.id))[1]
        assert f"shop.Oven ({variant.id}, a variant) has 0 inputs waiting and 0 running, and 1 container." in text
        assert "no container" not in text

    async def test_a_function_of_a_stopped_app_says_so(self, plane):
        app, live = await plane.deploy()
        await plane.apps.stop(app.id, "test")
        assert "runs no more: App 'shop' has stopped" in (await ask(plane, live.id))[1]
