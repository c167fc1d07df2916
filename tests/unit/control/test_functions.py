"""Functions: the old code serves until the new is published; bound variants are found again; what cannot be given is refused."""

from datetime import timedelta

import pytest
from fakes.control import ControlPlane, a_definition
from modal_proto import api_pb2

from freehold.domain.apps import AppState
from freehold.domain.errors import InvalidRequest, NotFound
from freehold.domain.tasks import ExitKind, TaskExit
from freehold.domain.volumes import VolumeMount


def bind_request(params=b"", **options):
    request = api_pb2.FunctionBindParamsRequest(serialized_params=params)
    if options:
        request.function_options.CopyFrom(api_pb2.FunctionOptions(**options))
    return request


class TestDefinition:
    async def test_an_id_can_be_had_before_there_is_code(self, plane):
        app = await plane.an_app()
        function, metadata = await plane.functions.precreate(app, api_pb2.FunctionPrecreateRequest(function_name="f"))
        live = await plane.define(app, existing=function.id)
        assert (live.id, metadata.function_name) == (function.id, "f")

    async def test_a_function_without_code_cannot_be_called(self, plane):
        function, _ = await plane.functions.precreate(await plane.an_app(), api_pb2.FunctionPrecreateRequest(function_name="f"))
        with pytest.raises(NotFound, match="has no code yet"):
            await plane.functions.live(function.id)

    async def test_the_first_definition_serves_at_once(self, plane):
        live = await plane.define(await plane.an_app(state=AppState.EPHEMERAL), timeout_secs=5)
        assert (await plane.functions.live(live.id)).spec.timeout == timedelta(seconds=5)

    async def test_the_old_definition_serves_until_the_new_is_published(self, plane):
        app, live = await plane.deploy(timeout_secs=5)
        newer = await plane.define(app, existing=live.id, timeout_secs=7)
        assert (await plane.functions.live(live.id)).definition_id == live.definition_id
        await plane.publish(app, newer)
        assert (await plane.functions.live(live.id)).definition_id == newer.definition_id

    async def test_a_function_of_another_app_is_not_continued(self, plane):
        _, theirs = await plane.deploy()
        with pytest.raises(InvalidRequest, match="belongs to another app"):
            await plane.define(await plane.an_app(name="other"), existing=theirs.id)

    async def test_nor_is_a_class_of_another_app(self, plane):
        mine, other = await plane.an_app(), await plane.an_app(name="other")
        theirs = await plane.functions.create_class(other, api_pb2.ClassCreateRequest())

        with pytest.raises(InvalidRequest, match="belongs to another app"):
            await plane.functions.create_class(mine, api_pb2.ClassCreateRequest(existing_class_id=theirs.id))
        with pytest.raises(NotFound):
            await plane.functions.create_class(mine, api_pb2.ClassCreateRequest(existing_class_id="cs-made-up"))

    async def test_a_function_needs_a_name(self, plane):
        for name in ("", "f" * 257):
            with pytest.raises(InvalidRequest, match="needs a name"):
                await plane.define(await plane.an_app(), name)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"cloud_bucket_mounts": [{"bucket_name": "b", "mount_path": "/v"}]}, "cloud bucket"),
            ({"shared_volume_mounts": [{"shared_volume_id": "sv-1", "mount_path": "/v"}]}, "network file system"),
            ({"volume_mounts": [{"volume_id": "vo-1", "mount_path": "/root"}]}, "a folder of its own"),
            ({"volume_mounts": [{"volume_id": "vo-1", "mount_path": "/v"}], "is_builder_function": True}, "image builds"),
            ({"resources": {"gpu_config": {"gpu_type": "H100", "count": 1}}}, 'asks for gpu="H100", and there is no GPU here'),
            ({"schedule": {"cron": {"cron_string": "hourly"}}}, "five fields"),
            ({"proxy_id": "pr-1"}, "a proxy"),
            (
                {"is_server": True, "http_config": {"port": 80, "unauthenticated": True, "lift_and_shift_config": {}}},
                "not built yet",
            ),
            ({"http_config": {"port": 80}}, "@app.server"),
        ],
    )
    async def test_what_this_engine_cannot_give_is_refused_at_deploy(self, plane, fields, words):
        with pytest.raises(InvalidRequest, match=words):
            await plane.functions.create(await plane.an_app(), a_definition(**fields), "")


class TestBinding:
    async def test_equal_requests_give_one_id(self, plane):
        _, live = await plane.deploy()
        first = await plane.functions.bind(live.id, bind_request(b"a", timeout_secs=9))
        second = await plane.functions.bind(live.id, bind_request(b"a", timeout_secs=9))
        other = await plane.functions.bind(live.id, bind_request(b"b", timeout_secs=9))
        assert first.id == second.id != other.id

    async def test_options_replace_what_the_definition_says(self, plane):
        _, live = await plane.deploy(timeout_secs=5, target_concurrent_inputs=2)
        bound = await plane.functions.bind(live.id, bind_request(timeout_secs=9, concurrency_limit=3))
        assert (bound.spec.timeout, bound.spec.autoscaler.max_containers) == (timedelta(seconds=9), 3)
        assert bound.spec.concurrency.max_inputs == 2

    async def test_new_options_keep_the_parameters_and_new_parameters_keep_the_options(self, plane):
        _, live = await plane.deploy()
        with_params = await plane.functions.bind(live.id, bind_request(b"a"))
        with_both = await plane.functions.bind(with_params.id, bind_request(timeout_secs=9))
        with_others = await plane.functions.bind(with_both.id, bind_request(b"b"))
        assert with_both.function.serialized_params == b"a"
        assert (with_others.function.serialized_params, with_others.spec.timeout) == (b"b", timedelta(seconds=9))
        assert {item.function.base_id for item in (with_params, with_both, with_others)} == {live.id}

    async def test_variants_in_use_are_known_until_their_app_stops(self, plane):
        app, live = await plane.deploy()
        bound = await plane.functions.bind(live.id, bind_request(b"a"))
        newer = await plane.define(app, existing=live.id)
        await plane.publish(app, newer)
        assert set(plane.functions.known_variants(live.id)) == {bound.id}
        await plane.apps.stop(app.id, "test")
        assert not plane.functions.known_variants(live.id)

    async def test_a_bound_function_runs_the_code_that_is_live(self, plane):
        app, live = await plane.deploy()
        bound = await plane.functions.bind(live.id, bind_request(b"a"))
        newer = await plane.define(app, existing=live.id)
        await plane.publish(app, newer)
        assert (await plane.functions.live(bound.id)).definition_id == newer.definition_id

    async def test_options_can_bring_back_a_minimum_of_zero(self, plane):
        """Clients write the minimum into two fields, and options replace one of them."""
        _, live = await plane.deploy(warm_pool_size=2, autoscaler_settings={"min_containers": 2})
        bound = await plane.functions.bind(live.id, bind_request(warm_pool_size=0))
        assert bound.spec.autoscaler.min_containers == 0

    @pytest.mark.parametrize(
        "options",
        [
            {"volume_mounts": [{"volume_id": "vo-1"}]},
            {"cloud_bucket_mounts": [{"bucket_name": "b"}]},
            {"resources": {"gpu_config": {"gpu_type": "H100", "count": 1}}},
        ],
    )
    async def test_options_cannot_ask_for_what_a_deploy_could_not(self, plane, options):
        _, live = await plane.deploy()
        with pytest.raises(InvalidRequest):
            await plane.functions.bind(live.id, bind_request(**options))
        async with plane.store.transaction() as tx:
            assert [item.id for item in await tx.functions.of_app(live.function.app_id)] == [live.id]


class TestVolumes:
    async def test_a_volume_that_is_not_there_stops_the_deploy(self, plane):
        with pytest.raises(NotFound, match="vo-1"):
            await plane.define(await plane.an_app(), volume_mounts=[{"volume_id": "vo-1", "mount_path": "/v"}])

    async def test_options_mount_others_instead(self, plane):
        first, second = await plane.a_volume("first"), await plane.a_volume("second")
        _, live = await plane.deploy(volume_mounts=[{"volume_id": first.id, "mount_path": "/v"}])
        mounts = [{"volume_id": second.id, "mount_path": "/w", "read_only": True, "sub_path": "/a/b"}]
        bound = await plane.functions.bind(live.id, bind_request(replace_volume_mounts=True, volume_mounts=mounts))
        assert [mount.volume_id for mount in live.spec.volumes] == [first.id]
        assert bound.spec.volumes == (VolumeMount(volume_id=second.id, path="/w", sub_path=("a", "b"), read_only=True),)
        same = await plane.functions.bind(live.id, bind_request(timeout_secs=9))
        assert same.spec.volumes == live.spec.volumes


class TestScalingSettings:
    async def test_a_function_with_a_minimum_wants_tasks_without_inputs(self, plane):
        _, live = await plane.deploy(autoscaler_settings={"min_containers": 1})
        assert plane.functions.wanting_tasks() == {live.id}

    async def test_changed_settings_hold_until_the_next_deploy(self, plane):
        app, live = await plane.deploy(autoscaler_settings={"max_containers": 2})
        request = api_pb2.FunctionUpdateSchedulingParamsRequest(settings={"min_containers": 1})
        answer = await plane.scaling.update(live, request)
        assert (answer.min_containers, answer.max_containers) == (1, 2)
        assert plane.functions.wanting_tasks() == {live.id}
        await plane.publish(app, await plane.define(app, existing=live.id))
        live = await plane.functions.live(live.id)
        assert plane.functions.autoscaler_of(live).min_containers == 0
        assert not plane.functions.wanting_tasks()

    async def test_the_settings_of_a_bound_function_end_with_the_next_deploy_too(self, plane):
        app, live = await plane.deploy()
        bound = await plane.functions.bind(live.id, bind_request(b"a"))
        await plane.scaling.update(bound, api_pb2.FunctionUpdateSchedulingParamsRequest(settings={"min_containers": 1}))
        await plane.publish(app, await plane.define(app, existing=live.id))
        assert plane.functions.autoscaler_of(await plane.functions.live(bound.id)).min_containers == 0

    async def test_a_minimum_that_was_set_back_wants_no_tasks(self, plane):
        _, live = await plane.deploy()
        for minimum in (1, 0):
            await plane.scaling.update(live, api_pb2.FunctionUpdateSchedulingParamsRequest(settings={"min_containers": minimum}))
        assert not plane.functions.wanting_tasks()

    async def test_a_maximum_below_the_minimum_is_refused(self, plane):
        _, live = await plane.deploy()
        with pytest.raises(InvalidRequest, match="below min_containers"):
            await plane.scaling.update(
                live, api_pb2.FunctionUpdateSchedulingParamsRequest(settings={"min_containers": 3, "max_containers": 2})
            )

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"scaledown_window": 1}, "between 2 and 3600 seconds, not 1"),
            ({"scaledown_window": 3601}, "between 2 and 3600"),
            ({"min_containers": 65}, "more than this machine takes: 64"),
            ({"target_concurrency_float": float("nan")}, "numbers that are not negative"),
        ],
    )
    async def test_what_cannot_be_kept_is_refused_and_changes_nothing(self, plane, settings, words):
        _, live = await plane.deploy()
        with pytest.raises(InvalidRequest, match=words):
            await plane.scaling.update(live, api_pb2.FunctionUpdateSchedulingParamsRequest(settings=settings))
        assert plane.functions.autoscaler_of(live) == live.spec.autoscaler

    async def test_changed_settings_survive_a_restart_and_their_minimum_wants_its_tasks(self, plane, tmp_path):
        _, live = await plane.deploy()
        bound = await plane.functions.bind(live.id, bind_request(b"a"))
        await plane.scaling.update(bound, api_pb2.FunctionUpdateSchedulingParamsRequest(settings={"min_containers": 1}))
        reborn = ControlPlane(tmp_path, store=plane.store, clock=plane.clock)
        await reborn.apps.restore()
        await reborn.autoscaler.step()
        assert len(reborn.tasks_of(bound)) == 1

    async def test_settings_of_an_app_that_has_stopped_do_not_hold_up_a_restart(self, plane, tmp_path):
        app, live = await plane.deploy()
        await plane.scaling.update(live, api_pb2.FunctionUpdateSchedulingParamsRequest(settings={"min_containers": 1}))
        await plane.apps.stop(app.id, "test")
        reborn = ControlPlane(tmp_path, store=plane.store, clock=plane.clock)
        await reborn.apps.restore()
        assert not reborn.functions.wanting_tasks()

    async def test_the_configuration_says_what_was_changed_and_when(self, plane):
        _, live = await plane.deploy(autoscaler_settings={"max_containers": 4})
        await plane.scaling.update(
            live, api_pb2.FunctionUpdateSchedulingParamsRequest(settings={"max_containers": 0, "scaledown_window": 5})
        )
        found = plane.scaling.configuration(live)
        assert (found.settings.max_containers, found.settings.scaledown_window) == (0, 5)
        assert found.static_settings.max_containers == 4
        assert [field.name for field, _ in found.override_settings.ListFields()] == ["max_containers", "scaledown_window"]
        assert found.override_events["scaledown_window"].timestamp == plane.clock.now().timestamp()

    async def test_variants_are_listed_busiest_first(self, plane):
        _, live = await plane.deploy()
        bound = [await plane.functions.bind(live.id, bind_request(params)) for params in (b"a", b"b", b"c")]
        await plane.a_ready_task(bound[1])
        listed = await plane.scaling.variants(live.id, 0)
        assert listed[0].id == bound[1].id
        assert {function.id for function in listed} == {live.id for live in bound}
        assert len(await plane.scaling.variants(live.id, 2)) == 2

    async def test_a_request_that_is_larger_than_the_machine_is_told_at_deploy(self, plane):
        _, live = await plane.deploy(resources={"milli_cpu": 8000, "memory_mb": 64})
        (caution,) = await plane.scaling.cautions([live.id])
        assert "f asks for cpu=8 and gets what 2 CPUs give" in caution

    async def test_the_figures_of_a_function_count_what_waits_and_what_runs(self, plane):
        _, live = await plane.deploy(target_concurrent_inputs=3)
        await plane.call(live)
        await plane.claim(await plane.a_ready_task(live))
        await plane.call(live)
        stats = plane.scaling.stats(live)
        assert (stats.backlog, stats.num_total_tasks, stats.num_running_inputs, stats.input_headroom) == (1, 1, 1, 2)

    async def test_a_task_may_take_more_than_its_target_while_inputs_wait(self, plane):
        _, live = await plane.deploy()
        assert plane.scaling.concurrency(live, 2, 8) == 2
        await plane.call(live)
        assert plane.scaling.concurrency(live, 2, 8) == 8


class TestRetirement:
    async def test_a_retired_function_and_its_variants_are_forgotten(self, plane):
        _, live = await plane.deploy("web", webhook_config={"type": api_pb2.WEBHOOK_TYPE_ASGI_APP}, warm_pool_size=1)
        bound = await plane.functions.bind(live.id, bind_request(b"a"))
        assert set(plane.functions.retire(frozenset({live.id}))) == {live.id, bound.id}
        assert plane.functions.known(live.id) is None
        assert not plane.functions.wanting_tasks()
        with pytest.raises(NotFound):
            plane.routes.target("local--shop-web")

    async def test_a_new_definition_may_start_though_the_old_one_crashed(self, plane):
        app, live = await plane.deploy()
        task = plane.tasks.create(live.function, live.definition_id, "test")
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.CRASHED))
        assert not plane.tasks.may_start(live.id)
        await plane.publish(app, await plane.define(app, existing=live.id))
        assert plane.tasks.may_start(live.id)
