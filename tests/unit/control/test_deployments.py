"""Versions that come back: whole, in one step, or not at all."""

import asyncio

import pytest
from fakes.control import DEADLINE, layout_of

from freehold.control.services.apps import Publication
from freehold.domain.apps import AppState, DeploymentKind
from freehold.domain.errors import Conflict
from freehold.domain.tasks import ExitKind, TaskExit


@pytest.fixture(autouse=True)
async def _content(plane):
    await plane.content.open()


async def twice(plane, **changes):
    """An app with `f`, deployed twice; the app and both definitions."""
    app, first = await plane.deploy(timeout_secs=1)
    second = await plane.define(app, existing=first.id, timeout_secs=2, image_id=first.spec.image_id, **changes)
    app, _ = await plane.publish(app, second)
    return app, first, second


async def timeout_of(plane, live):
    return (await plane.functions.live(live.id)).spec.timeout.total_seconds()


async def test_a_rollback_is_a_new_version_with_the_old_definitions(plane):
    app, first, _ = await twice(plane)
    app, deployment = await plane.deployments.roll_back(app.id, None)
    assert (app.version, deployment.kind, deployment.rollback_of) == (3, DeploymentKind.ROLLBACK, 1)
    assert deployment.layout.definition_ids == {first.id: first.definition_id}
    assert await timeout_of(plane, first) == 1


async def test_who_wanted_a_version_is_in_the_story_of_the_app(plane):
    app, *_ = await twice(plane)
    await plane.deployments.roll_back(app.id, 1, actor="client with token ak-1")
    [event] = [one for one in await plane.story(app.id) if one.kind == "app_rolled_back"]
    assert event.cause == "client with token ak-1"
    assert event.fields == {"version": "3", "state": "deployed", "layout_of": "1"}


async def test_tags_commit_and_client_of_the_old_version_come_back_with_it(plane):
    app = await plane.an_app()
    live = await plane.define(app, image_id=(await plane.an_image()).id)
    await plane.publish(app, live, tag="spring", commit_info=b"\x01", client_version="1.6.3")
    await plane.publish(app, live, tag="summer", client_version="1.6.4")
    app, deployment = await plane.deployments.roll_back(app.id, 1)
    assert (deployment.tag, deployment.commit_info, deployment.client_version, app.client_version) == ("spring", b"\x01", "1.6.3", "1.6.3")


async def test_a_rollover_gives_every_definition_a_new_id_and_changes_nothing_else(plane):
    app, live = await plane.deploy(timeout_secs=7)
    app, deployment = await plane.deployments.roll_over(app.id)
    now = await plane.functions.live(live.id)
    assert (now.message, now.spec) == (live.message, live.spec)
    assert now.definition_id != live.definition_id
    assert (app.version, deployment.kind) == (2, DeploymentKind.ROLLOVER)


async def test_a_staged_version_changes_nothing_until_it_is_promoted(plane):
    app, live = await plane.deploy(timeout_secs=1)
    staged = await plane.define(app, existing=live.id, timeout_secs=2, image_id=live.spec.image_id)
    app, deployment = await plane.publish(app, staged, kind=DeploymentKind.STAGED)
    assert (app.version, deployment.version, await timeout_of(plane, live)) == (1, 2, 1)
    app, promoted = await plane.deployments.promote(app.id, 2)
    assert (app.version, promoted.kind, await timeout_of(plane, live)) == (3, DeploymentKind.PROMOTION, 2)


async def test_a_staged_version_may_leave_functions_out_without_ending_them(plane):
    app, first, second = await plane.deploy("f", "g")
    await plane.publish(app, first, kind=DeploymentKind.STAGED)
    assert await plane.apps.function_id(app, "g") == second.id


async def test_a_version_whose_secret_was_deleted_stays_where_it_is(plane):
    app, live = await plane.deploy(secret_ids=["st-gone"])
    await plane.publish(app, await plane.define(app, existing=live.id, image_id=live.spec.image_id))
    with pytest.raises(Conflict, match=r"v1 cannot run any more: f needs the secret st-gone, which was deleted\. Nothing was changed"):
        await plane.deployments.roll_back(app.id, 1)
    assert (await plane.apps.get(app.id)).version == 2


async def test_a_version_whose_files_are_gone_stays_where_it_is(plane):
    mount = await plane.a_mount()
    app, live = await plane.deploy(mount_ids=[mount.id])
    await plane.publish(app, await plane.define(app, existing=live.id, image_id=live.spec.image_id))
    await plane.content.delete(mount.tree.files[0].digest)
    with pytest.raises(Conflict, match="f needs files that were uploaded with it"):
        await plane.deployments.roll_back(app.id, 1)


async def test_the_second_of_two_changes_of_one_version_is_refused(plane):
    app, live = await plane.deploy()
    with pytest.raises(Conflict, match="v1 is live now"):
        await plane.publish(app, live, replaces=0)


@pytest.mark.parametrize("state", [AppState.EPHEMERAL, AppState.INITIALIZING])
async def test_an_app_that_is_not_deployed_has_no_versions_to_choose_from(plane, state):
    app = await plane.an_app(state=state)
    if state is AppState.EPHEMERAL:
        live = await plane.define(app, image_id=(await plane.an_image()).id)
        app, _ = await plane.publish(app, live, state=None, name="")
    with pytest.raises(Conflict, match=r"not deployed|no version that is live"):
        await plane.deployments.roll_over(app.id)


class TestTakeover:
    """A publication returns when new tasks have taken over, or will not soon."""

    async def redeployed(self, plane, publishing):
        """An app with a ready task, and a publication of its next version that waits; the task and its successor."""
        app, live = await plane.deploy()
        task = await plane.a_ready_task(live)
        newer = await plane.define(app, existing=live.id, image_id=live.spec.image_id)
        publication = Publication(state=AppState.DEPLOYED, layout=layout_of(newer), name="shop")
        waiting = publishing.create_task(plane.deployments.publish(app.id, publication))
        while not (others := [other for other in plane.tasks_of(live) if other is not task]):
            await asyncio.sleep(0.001)
            await plane.autoscaler.step()
        (successor,) = others
        assert not waiting.done()
        return successor

    async def test_it_waits_until_the_old_task_has_its_successor(self, plane):
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as publishing:
            plane.tasks.record_ready(await self.redeployed(plane, publishing))
            await plane.autoscaler.step()

    async def test_it_does_not_wait_for_one_that_cannot_start(self, plane):
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as publishing:
            successor = await self.redeployed(plane, publishing)
            await plane.tasks.record_exit(successor.id, TaskExit(kind=ExitKind.CRASHED, code=1))

    async def test_it_does_not_wait_where_nothing_was_warm(self, plane):
        app, live = await plane.deploy()
        publication = Publication(state=AppState.DEPLOYED, layout=layout_of(live), name="shop")
        async with asyncio.timeout(DEADLINE):
            await plane.deployments.publish(app.id, publication)
        assert not plane.tasks_of(live)
