"""Schedules follow what is deployed; each due time becomes one call, or is missed and counted."""

import asyncio
import pickle
from dataclasses import replace
from datetime import timedelta

import pytest
from fakes.control import DEADLINE, ControlPlane, layout_of
from modal_proto import api_pb2

from freehold.control.controllers import loop
from freehold.control.controllers.loop import Controller
from freehold.control.rpc.schedules import ScheduleOperations
from freehold.control.services.apps import Publication
from freehold.control.wakeups import Wakeup
from freehold.domain.apps import AppState, DeploymentKind
from freehold.domain.creation import Creation
from freehold.domain.errors import InvalidRequest, NotFound
from freehold.domain.functions import Definition
from freehold.domain.ids import CallId, new_definition_id
from freehold.observability.events import Event

MINUTELY = {"period": {"minutes": 1}}
HOURLY = {"cron": {"cron_string": "0 * * * *", "timezone": "Europe/Berlin"}}


async def pass_time(plane, seconds):
    """The clock moves on, and the controller looks."""
    plane.clock.move(seconds)
    return await plane.clockwork.step()


async def calls_of(plane, live):
    """Its calls on disk, oldest first."""
    async with plane.store.transaction() as tx:
        found = [call for call, _ in await tx.calls.unfinished()]
    return [call for call in found if call.function_id == live.id]


async def the_schedule(plane):
    (found,) = await plane.schedules.list()
    return found.schedule


async def rows(plane):
    return (await ScheduleOperations(plane.schedules).list({}))["schedules"]


class TestFiring:
    async def test_a_deployed_function_is_called_when_its_time_comes_and_not_before(self, plane):
        _, live = await plane.deploy(schedule=MINUTELY)
        assert await pass_time(plane, 59) == pytest.approx(1)
        assert await calls_of(plane, live) == []
        assert await pass_time(plane, 1) == pytest.approx(60)
        assert len(await calls_of(plane, live)) == 1

    async def test_the_call_has_no_arguments_and_its_result_is_kept(self, plane):
        _, live = await plane.deploy(schedule=MINUTELY)
        await pass_time(plane, 60)
        task = await plane.a_ready_task(live)
        (item,) = await plane.claim(task)
        assert pickle.loads(item.input.args) == ((), {})
        assert item.input.data_format == api_pb2.DATA_FORMAT_PICKLE
        await plane.answer(task, item, b"done")
        call = await plane.calls.find_record(CallId(item.function_call_id))
        assert call.latest[0].result.data == b"done"
        assert plane.calls.find_live(call.id) is None  # nobody waits for it, so it takes no memory

    async def test_looking_again_changes_nothing(self, plane):
        _, live = await plane.deploy(schedule=MINUTELY)
        await pass_time(plane, 60)
        await plane.clockwork.step()
        await plane.clockwork.step()
        assert len(await calls_of(plane, live)) == 1

    async def test_a_run_does_not_wait_for_the_one_before_it(self, plane):
        _, live = await plane.deploy(schedule=MINUTELY)
        for _ in range(3):
            await pass_time(plane, 60)
        assert len(await calls_of(plane, live)) == 3
        assert (await the_schedule(plane)).missed == 0

    async def test_the_retry_policy_of_the_function_holds(self, plane):
        _, live = await plane.deploy(schedule=MINUTELY, retry_policy={"retries": 4})
        await pass_time(plane, 60)
        (record,) = await calls_of(plane, live)
        assert plane.calls.find_live(record.id).retry_policy.retries == 4

    async def test_several_times_that_passed_are_one_run_and_the_rest_is_counted(self, plane):
        _, live = await plane.deploy(schedule=MINUTELY)
        await pass_time(plane, 5 * 60 + 30)
        assert len(await calls_of(plane, live)) == 1
        assert (await the_schedule(plane)).missed == 4
        assert await pass_time(plane, 30) == pytest.approx(60)
        assert len(await calls_of(plane, live)) == 2

    async def test_what_is_longer_ago_than_the_grace_is_not_run(self, plane):
        _, live = await plane.deploy(schedule={"period": {"days": 1}})
        await pass_time(plane, 86400 + plane.settings.schedule_grace.total_seconds() + 1)
        assert await calls_of(plane, live) == []
        assert (await the_schedule(plane)).missed == 1
        assert "schedule_missed" in await plane.events(live.id)

    async def test_a_clock_that_is_set_back_brings_no_time_a_second_time(self, plane):
        _, live = await plane.deploy(schedule=MINUTELY)
        await pass_time(plane, 60)
        await pass_time(plane, -50)
        await pass_time(plane, 50)
        assert len(await calls_of(plane, live)) == 1

    async def test_a_turn_for_which_there_is_no_room_is_tried_again(self, plane):
        _, live = await plane.deploy(schedule=MINUTELY)
        plane.calls._max_queued = 0
        assert await pass_time(plane, 60) == 1
        assert await calls_of(plane, live) == []
        plane.calls._max_queued = 10
        await pass_time(plane, 1)
        assert len(await calls_of(plane, live)) == 1

    async def test_one_schedule_that_fails_holds_up_no_other(self, plane):
        _, first, second = await plane.deploy("f", "g", schedule=MINUTELY)
        async with plane.store.transaction() as tx:
            schedule = await tx.schedules.find(first.id)
            await tx.schedules.put(replace(schedule, function_id="fu-unknown"))
        await pass_time(plane, 60)
        assert len(await calls_of(plane, second)) == 1

    async def test_the_story_of_the_function_and_of_the_call_tell_it(self, plane):
        _, live = await plane.deploy(schedule=MINUTELY)
        await pass_time(plane, 150)
        (record,) = await calls_of(plane, live)
        async with plane.store.transaction() as tx:
            told = {event.kind: event for event in await tx.events.of(live.id)}
            of_call = await tx.events.of(record.id)
        assert list(told) == ["schedule_set", "schedule_missed", "schedule_fired"]
        assert told["schedule_missed"].fields["times"] == "1"
        assert told["schedule_fired"].fields["call_id"] == record.id
        assert "due at 2026-01-02T00:02:00" in told["schedule_fired"].cause
        assert live.id in of_call[0].cause

    async def test_a_long_story_is_told_to_its_end(self, plane):
        _, live = await plane.deploy(schedule=MINUTELY)
        async with plane.store.transaction() as tx:
            await tx.events.add([Event(subject=live.id, at=plane.clock.now(), kind="task_wanted") for _ in range(1000)])
        await pass_time(plane, 60)
        told = (await plane.stories.of(live.id)).events
        assert (len(told), told[-1].kind) == (1000, "schedule_fired")


class TestDeployments:
    @pytest.mark.parametrize("state", [AppState.EPHEMERAL, AppState.DETACHED])
    async def test_those_of_an_app_that_lives_by_its_client_go_with_it(self, plane, state):
        app = await plane.an_app()
        live = await plane.define(app, schedule=MINUTELY, image_id=(await plane.an_image()).id)
        assert await plane.schedules.list() == [], "it is not published yet"
        await plane.publish(app, live, state=state, name="")
        assert [item.name for item in await plane.schedules.list()] == ["shop.f"]
        await plane.apps.stop(app.id, "test")
        assert await plane.schedules.list() == []

    async def test_a_redeploy_keeps_the_beat(self, plane):
        app, live = await plane.deploy(schedule=MINUTELY)
        plane.clock.move(40)
        await plane.publish(app, await plane.define(app, existing=live.id, schedule=MINUTELY, timeout_secs=7))
        assert await plane.clockwork.step() == pytest.approx(20)

    async def test_another_rule_starts_anew(self, plane):
        app, live = await plane.deploy(schedule=MINUTELY)
        plane.clock.move(40)
        await plane.publish(app, await plane.define(app, existing=live.id, schedule={"period": {"minutes": 2}}))
        assert await plane.clockwork.step() == pytest.approx(120)

    async def test_a_rule_that_is_left_out_is_gone_and_so_is_that_of_a_function_that_is(self, plane):
        app, kept, dropped = await plane.deploy("f", "g", schedule=MINUTELY)
        await plane.publish(app, await plane.define(app, existing=kept.id))
        assert await plane.schedules.list() == []
        assert (await plane.events(dropped.id))[-1] == "schedule_removed"
        assert await pass_time(plane, 60) is None

    async def test_a_stopped_app_has_none(self, plane):
        app, _ = await plane.deploy(schedule=MINUTELY)
        await plane.apps.stop(app.id, "test")
        assert await plane.schedules.list() == []

    async def test_a_publication_that_fails_changes_no_schedule(self, plane):
        app, live = await plane.deploy(schedule=MINUTELY)
        before = await the_schedule(plane)
        layout = layout_of(await plane.define(app, existing=live.id))
        layout.class_ids["K"] = "cs-unknown"
        with pytest.raises(NotFound):
            await plane.apps.publish(app.id, Publication(state=AppState.DEPLOYED, layout=layout, name="shop"))
        assert await the_schedule(plane) == before

    async def test_a_version_that_is_only_staged_changes_no_schedule(self, plane):
        app, live = await plane.deploy(schedule=MINUTELY)
        await plane.publish(app, await plane.define(app, existing=live.id), kind=DeploymentKind.STAGED)
        assert len(await plane.schedules.list()) == 1
        assert await pass_time(plane, 60) == pytest.approx(60)

    async def test_a_rollback_brings_the_rule_back(self, plane):
        app, live = await plane.deploy(schedule=MINUTELY)
        await plane.publish(app, await plane.define(app, existing=live.id, image_id=live.message.image_id))
        assert await plane.schedules.list() == []
        await plane.deployments.roll_back(app.id, None)
        assert await pass_time(plane, 60) == pytest.approx(60)
        assert len(await calls_of(plane, live)) == 1

    async def test_a_function_that_answers_requests_is_not_called_without_one_and_the_deploy_says_so(self, plane):
        app, _ = await plane.deploy("page", schedule=MINUTELY, webhook_config={"type": api_pb2.WEBHOOK_TYPE_ASGI_APP})
        assert await plane.schedules.list() == []
        (caution,) = await plane.apps.cautions(app.id)
        assert "page answers web requests" in caution

    async def test_other_schedules_need_no_word_of_caution(self, plane):
        app, _ = await plane.deploy(schedule=HOURLY)
        assert await plane.apps.cautions(app.id) == []

    async def test_app_info_shows_the_rule(self, plane):
        app, live = await plane.deploy(schedule=HOURLY)
        assert (await plane.apps.summaries(app))[live.id].schedule.cron.cron_string == "0 * * * *"


class TestRestarts:
    async def test_what_passed_while_the_engine_was_down_is_one_run(self, plane, tmp_path):
        _, live = await plane.deploy(schedule=MINUTELY)
        again = restarted(plane, tmp_path)
        await again.apps.restore()
        await pass_time(again, 200)
        assert len(await calls_of(again, live)) == 1
        assert (await the_schedule(again)).missed == 2

    async def test_a_call_that_was_written_before_the_end_is_run_and_its_time_is_not_due_again(self, plane, tmp_path):
        _, live = await plane.deploy(schedule=MINUTELY)
        await pass_time(plane, 60)
        again = restarted(plane, tmp_path)
        await again.apps.restore()
        assert await again.calls.restore() == 1
        await again.clockwork.step()
        assert len(await calls_of(again, live)) == 1
        assert len(await again.claim(await again.a_ready_task(live))) == 1

    async def test_what_is_paused_stays_so_over_restart_and_redeploy(self, plane, tmp_path):
        app, live = await plane.deploy(schedule=MINUTELY)
        await plane.schedules.pause("shop.f")
        again = restarted(plane, tmp_path)
        await again.apps.restore()
        await again.publish(app, await again.define(app, existing=live.id, schedule={"period": {"minutes": 2}}))
        assert await pass_time(again, 600) is None
        assert await calls_of(again, live) == []

    async def test_a_schedule_that_a_former_version_did_not_run_is_run_from_now_on(self, plane, tmp_path):
        _, live = await plane.deploy(schedule=MINUTELY)
        async with plane.store.transaction() as tx:
            await tx.schedules.delete(live.id)
        again = restarted(plane, tmp_path)
        await again.apps.restore()
        assert await again.clockwork.step() == pytest.approx(60)

    async def test_a_rule_that_a_former_version_took_and_this_one_does_not_keeps_no_engine_from_starting(self, plane, tmp_path):
        _, live = await plane.deploy(schedule=MINUTELY)
        message = api_pb2.Function(schedule={"period": {"seconds": 0.1}}, image_id=live.message.image_id, function_name="f")
        definition = Definition(
            id=new_definition_id(), function_id=live.id, payload=message.SerializeToString(), created_at=plane.clock.now()
        )
        async with plane.store.transaction() as tx:
            await tx.functions.put_definition(definition)
            await tx.functions.put(replace(live.function, live_definition_id=definition.id))
        again = restarted(plane, tmp_path)
        await again.apps.restore()
        assert await again.schedules.list() == []


class TestByHand:
    async def test_a_run_by_hand_changes_nothing_of_the_beat(self, plane):
        _, live = await plane.deploy(schedule=MINUTELY)
        plane.clock.move(20)
        call_id = await plane.schedules.run("shop.f")
        assert [call.id for call in await calls_of(plane, live)] == [call_id]
        assert await plane.clockwork.step() == pytest.approx(40)
        (row,) = await rows(plane)
        assert (row["last_call_id"], row["last_state"]) == (call_id, "queued")

    async def test_the_last_run_is_shown_with_what_came_of_it(self, plane):
        _, live = await plane.deploy(schedule=MINUTELY)
        assert (await rows(plane))[0]["last_state"] is None
        await pass_time(plane, 60)
        task = await plane.a_ready_task(live)
        (item,) = await plane.claim(task)
        assert (await rows(plane))[0]["last_state"] == "running"
        await plane.answer(task, item)
        (row,) = await rows(plane)
        assert (row["last_state"], row["last_at"]) == ("success", "2026-01-02T00:01:00+00:00")

    async def test_a_result_that_is_no_longer_kept_is_forgotten(self, plane):
        _, live = await plane.deploy(schedule=MINUTELY)
        await pass_time(plane, 60)
        task = await plane.a_ready_task(live)
        await plane.answer(task, (await plane.claim(task))[0])
        async with plane.store.transaction() as tx:
            await tx.calls.delete_finished_before(plane.clock.now() + timedelta(days=8))
        assert (await rows(plane))[0]["last_state"] == "forgotten"

    async def test_pausing_stops_the_runs_and_resuming_makes_up_for_none(self, plane):
        _, live = await plane.deploy(schedule=MINUTELY)
        await plane.schedules.pause("shop.f")
        await plane.schedules.pause("shop.f")
        assert await pass_time(plane, 150) is None
        assert (await rows(plane))[0]["next_at"] is None
        await plane.schedules.resume("shop.f")
        assert await plane.clockwork.step() == pytest.approx(30)
        assert await calls_of(plane, live) == []
        assert (await the_schedule(plane)).missed == 0
        assert await plane.events(live.id) == ["schedule_set", "schedule_paused", "schedule_resumed"]

    async def test_a_name_that_is_not_there_is_answered_with_those_that_are(self, plane):
        with pytest.raises(NotFound, match="None has"):
            await plane.schedules.run("shop.f")
        await plane.deploy("f", "g", schedule=MINUTELY)
        for name in ("shop.h", "f", "other.f", ""):
            with pytest.raises(NotFound, match=r"These have: shop\.f, shop\.g\."):
                await plane.schedules.pause(name)

    async def test_a_name_that_two_environments_have_needs_one_of_them(self, plane):
        await plane.deploy(schedule=MINUTELY)
        await plane.environments.get_or_create("dev", Creation.IF_MISSING)
        app = await plane.apps.create(environment="dev", description="", state=AppState.INITIALIZING, client_version="", tags={})
        await plane.publish(app, await plane.define(app, schedule=MINUTELY, image_id=(await plane.an_image()).id))
        with pytest.raises(InvalidRequest, match="dev, main"):
            await plane.schedules.pause("shop.f")
        await plane.schedules.pause("shop.f", "dev")
        assert {row["environment"]: row["is_paused"] for row in await rows(plane)} == {"dev": True, "main": False}


class TestTimer:
    async def test_the_controller_wakes_by_a_hint_and_exactly_when_the_step_says(self):
        """A loop that would look once a minute by itself looks when it said it would, and when something changed."""
        looks, changed = [], Wakeup()
        third, again = asyncio.Event(), asyncio.Event()

        async def step():
            looks.append(None)
            if len(looks) == 3:
                third.set()
            if len(looks) == 4:
                again.set()
            return 0.01 if len(looks) < 3 else None

        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
            running = group.create_task(loop.run(Controller("test", step, changed=changed, every=60)))
            await third.wait()
            changed.notify()
            await again.wait()
            running.cancel()

    async def test_a_deploy_wakes_it(self, plane):
        generation = plane.schedules_changed.generation
        await plane.deploy(schedule=MINUTELY)
        assert plane.schedules_changed.generation > generation


def restarted(plane, tmp_path):
    """Another engine on what the first one left."""
    plane.log_store.close()
    return ControlPlane(tmp_path, store=plane.store, clock=plane.clock)
