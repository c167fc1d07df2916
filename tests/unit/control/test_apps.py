"""Apps: published whole, replaced in place, kept alive by their client, stopped in good order."""

import pytest
from fakes.control import ControlPlane, layout_of

from freehold.control.services.apps import Publication
from freehold.domain.apps import AppState, Layout
from freehold.domain.errors import Conflict, InvalidRequest, NotFound
from freehold.domain.tasks import ExitKind, TaskExit, TaskState


class TestPublication:
    async def test_a_publication_makes_all_its_functions_live_and_numbers_the_version(self, plane):
        app, first, second = await plane.deploy("f", "g")
        assert (app.state, app.name, app.version) == (AppState.DEPLOYED, "shop", 1)
        assert await plane.apps.function_id(app, "f") == first.id
        assert await plane.apps.function_id(app, "g") == second.id

    async def test_a_publication_with_an_unknown_function_changes_nothing(self, plane):
        app, live = await plane.deploy()
        newer = await plane.define(app, existing=live.id, timeout_secs=7)
        layout = layout_of(newer)
        layout.definition_ids["fu-unknown"] = "de-unknown"
        with pytest.raises(NotFound):
            await plane.apps.publish(app.id, Publication(state=AppState.DEPLOYED, layout=layout, name="shop"))
        assert (await plane.apps.get(app.id)).version == 1
        assert (await plane.functions.live(live.id)).definition_id == live.definition_id

    async def test_an_app_cannot_publish_what_belongs_to_another(self, plane):
        _, theirs = await plane.deploy(name="theirs")
        app, ours = await plane.deploy(name="ours")
        for layout in (layout_of(theirs), Layout(definition_ids={ours.id: theirs.definition_id})):
            with pytest.raises(InvalidRequest, match="Deploy 'ours' again"):
                await plane.apps.publish(app.id, Publication(state=AppState.DEPLOYED, layout=layout, name="ours"))
        assert (await plane.apps.get(app.id)).version == 1

    async def test_a_redeploy_keeps_the_ids_of_functions_and_runs_the_new_definition(self, plane):
        app, live = await plane.deploy(timeout_secs=5)
        newer = await plane.define(app, existing=live.id, timeout_secs=7)
        app, deployment = await plane.publish(app, newer)
        assert newer.id == live.id
        assert (app.version, deployment.version) == (2, 2)
        assert (await plane.functions.live(live.id)).spec.timeout.total_seconds() == 7

    async def test_a_function_that_is_left_out_ends_and_its_callers_are_told(self, plane):
        app, kept, dropped = await plane.deploy("f", "g")
        call = await plane.call(dropped)
        await plane.publish(app, kept)
        assert "no longer part of the app" in call.outputs[0].result.exception
        with pytest.raises(NotFound, match="It has: f"):
            await plane.apps.function_id(app, "g")

    async def test_the_second_of_two_first_deploys_under_one_name_is_refused(self, plane):
        await plane.deploy()
        other = await plane.an_app()
        with pytest.raises(Conflict, match="Deploy again to replace it"):
            await plane.publish(other)

    async def test_a_stopped_app_takes_no_publication(self, plane):
        app, live = await plane.deploy()
        await plane.apps.stop(app.id, "test")
        for state in (AppState.DEPLOYED, None):
            with pytest.raises(Conflict):
                await plane.publish(app, live, state=state)

    async def test_a_name_that_cannot_be_typed_is_refused(self, plane):
        with pytest.raises(InvalidRequest, match="cannot be an app's name"):
            await plane.publish(await plane.an_app(), name="no/slashes")

    async def test_publishing_without_a_state_keeps_it(self, plane):
        app = await plane.an_app(state=AppState.EPHEMERAL)
        app, _ = await plane.publish(app, state=None, name="")
        assert (app.state, app.version, app.name) == (AppState.EPHEMERAL, 1, None)

    async def test_the_history_is_newest_first_and_outlives_the_app(self, plane):
        app, live = await plane.deploy()
        await plane.publish(app, live, tag="v2")
        await plane.apps.stop(app.id, "test")
        assert [(item.version, item.tag) for item in await plane.apps.history(app.id)] == [(2, "v2"), (1, "")]


class TestLookUp:
    async def test_a_name_that_is_not_deployed_says_how_to_deploy(self, plane):
        with pytest.raises(NotFound, match=r"No app named 'shop' .* `modal deploy`"):
            await plane.apps.get_deployed("", "shop")

    async def test_an_app_can_be_made_by_its_first_look_up(self, plane):
        made = await plane.apps.get_or_create("", "sandboxes", create=True, client_version="1.6.4")
        again = await plane.apps.get_or_create("", "sandboxes", create=True, client_version="1.6.4")
        assert (made.id, made.state) == (again.id, AppState.DEPLOYED)

    async def test_a_look_up_that_may_not_make_one_says_so(self, plane):
        with pytest.raises(NotFound):
            await plane.apps.get_or_create("", "sandboxes", create=False, client_version="1.6.4")

    @pytest.mark.parametrize("name", ["Model", "Model.predict"])
    async def test_who_takes_a_class_for_a_function_is_told_the_name_of_its_function(self, plane, name):
        app, _ = await plane.deploy("Model.*")
        with pytest.raises(NotFound, match=r"its name is 'Model\.\*'"):
            await plane.apps.function_id(app, name)

    async def test_a_missing_class_is_answered_with_those_there_are(self, plane):
        app, _ = await plane.deploy()
        with pytest.raises(NotFound, match=r"has no class 'Model'. It has: none"):
            await plane.apps.class_id(app, "Model")


class TestStop:
    async def test_a_stopped_app_ends_its_inputs_and_drains_its_tasks(self, plane):
        app, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        call = await plane.call(live)
        stopped = await plane.apps.stop(app.id, "test")
        assert (stopped.state, stopped.stopped_at) == (AppState.STOPPED, plane.clock.now())
        assert "The app was stopped" in call.outputs[0].result.exception
        assert task.state is TaskState.DRAINING

    async def test_a_stopped_app_is_no_longer_found_by_name_and_its_functions_are_gone(self, plane):
        app, live = await plane.deploy()
        await plane.apps.stop(app.id, "test")
        assert await plane.apps.find_deployed("", "shop") is None
        with pytest.raises(NotFound, match="has stopped"):
            await plane.functions.live(live.id)
        with pytest.raises(Conflict, match="has stopped"):
            await plane.apps.get_live(app.id)

    async def test_stopping_twice_is_told_once(self, plane):
        app, _ = await plane.deploy()
        await plane.apps.stop(app.id, "test")
        await plane.apps.stop(app.id, "test")
        assert (await plane.events(app.id)).count("app_stopped") == 1

    async def test_an_app_has_ended_once_its_last_task_has(self, plane):
        app, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        await plane.apps.stop(app.id, "test")
        assert (plane.apps.take_ended(), await plane.apps.is_over(app.id)) == (set(), False)
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.FINISHED))
        assert (plane.apps.take_ended(), await plane.apps.is_over(app.id)) == ({app.id}, True)
        assert plane.apps.take_ended() == set()


class TestClients:
    @pytest.mark.parametrize("state", [AppState.EPHEMERAL, AppState.INITIALIZING])
    async def test_an_app_that_lives_by_its_client_stops_when_that_leaves(self, plane, state):
        app = await plane.an_app(state=state)
        await plane.apps.disconnect(app.id, "done")
        assert (await plane.apps.get(app.id)).state is AppState.STOPPED

    async def test_a_detached_app_goes_on_without_its_client(self, plane):
        app = await plane.an_app(state=AppState.DETACHED)
        await plane.apps.disconnect(app.id, "done")
        assert (await plane.apps.get(app.id)).state is AppState.DETACHED

    async def test_a_deployed_app_goes_on_without_its_client(self, plane):
        app, _ = await plane.deploy()
        await plane.apps.disconnect(app.id, "done")
        assert (await plane.apps.get(app.id)).is_live

    async def test_an_ephemeral_app_whose_client_is_silent_for_a_minute_is_stopped(self, plane):
        app = await plane.an_app(state=AppState.EPHEMERAL)
        plane.clock.move(59)
        await plane.apps.stop_abandoned()
        assert (await plane.apps.get(app.id)).is_live
        plane.clock.move(2)
        await plane.apps.stop_abandoned()
        assert not (await plane.apps.get(app.id)).is_live

    async def test_heartbeats_keep_an_ephemeral_app(self, plane):
        app = await plane.an_app(state=AppState.EPHEMERAL)
        for _ in range(3):
            plane.clock.move(40)
            plane.apps.heartbeat(app.id)
            await plane.apps.stop_abandoned()
        assert (await plane.apps.get(app.id)).is_live

    async def test_a_deployed_app_is_never_abandoned(self, plane):
        app, _ = await plane.deploy()
        plane.clock.move(1000)
        await plane.apps.stop_abandoned()
        assert (await plane.apps.get(app.id)).is_live


class TestRestart:
    async def test_what_is_deployed_answers_at_its_address_again(self, plane, tmp_path):
        _, live = await plane.deploy("web", webhook_config={"type": 1})
        reborn = ControlPlane(tmp_path, store=plane.store, clock=plane.clock)
        await reborn.apps.restore()
        assert reborn.routes.target("local--shop-web").function_id == live.id

    async def test_ephemeral_apps_have_a_minute_to_be_heard_from(self, plane, tmp_path):
        app = await plane.an_app(state=AppState.EPHEMERAL)
        reborn = ControlPlane(tmp_path, store=plane.store, clock=plane.clock)
        await reborn.apps.restore()
        reborn.clock.move(50)
        await reborn.apps.stop_abandoned()
        assert (await reborn.apps.get(app.id)).is_live
        reborn.clock.move(50)
        await reborn.apps.stop_abandoned()
        assert not (await reborn.apps.get(app.id)).is_live


async def test_tags_replace_those_before(plane):
    app, _ = await plane.deploy()
    await plane.apps.set_tags(app.id, {"team": "data"})
    assert (await plane.apps.get(app.id)).tags == {"team": "data"}
