"""GPUs from the deploy to the container: who gets which, who is refused, and who runs on the CPU instead."""

import pytest
from fakes.control import CALLER, ControlPlane, a_definition, image_request
from modal_proto import api_pb2

from freehold.control.controllers.foresight import Foresight
from freehold.control.rpc.functions import FunctionRpcs
from freehold.domain.calls import CallKind
from freehold.domain.errors import InvalidRequest
from freehold.domain.gpus import Gpu, GpuFallback
from freehold.domain.tasks import ExitKind, TaskExit
from freehold.wire import functions as wire

R = api_pb2.GenericResult
T4S = [Gpu(index=index, name="Tesla T4", memory_mib=15_360) for index in range(3)]
A100 = Gpu(index=3, name="NVIDIA A100-SXM4-80GB", memory_mib=81_920)


@pytest.fixture
def a_plane(tmp_path):
    planes = []

    def made(*gpus, fallback=GpuFallback.REFUSE, **more):
        planes.append(plane := ControlPlane(tmp_path, gpus=gpus, gpu_fallback=fallback, **more))
        return plane

    yield made
    for plane in planes:
        plane.log_store.close()


@pytest.fixture
def plane(a_plane):
    return a_plane(*T4S, A100)


def asking(gpu_type, count=1):
    return {"resources": {"gpu_config": {"gpu_type": gpu_type, "count": count}}}


def alternatives(*types, **fields):
    """What the client sends for gpu=[…]."""
    data = api_pb2.FunctionData(module_name="app", function_name="f")
    for rank, kind in enumerate(types):
        data.ranked_functions.add(rank=rank, function=a_definition("f", **asking(kind), **fields))
    return data


async def given(plane, live):
    """The devices of each task's container, in the order in which the tasks were wanted."""
    await plane.autoscaler.step()
    await plane.scheduler.step()
    return [plane.worker.desired[task.id].gpus for task in plane.tasks_of(live)]


class TestPlaces:
    async def test_each_container_has_devices_of_its_own(self, plane):
        _, live = await plane.deploy(**asking("T4"))
        await plane.call(live, kind=CallKind.MAP, inputs=2)

        assert await given(plane, live) == [(0,), (1,)]

    async def test_as_many_as_were_asked_for(self, plane):
        _, live = await plane.deploy(**asking("T4", 2))
        await plane.call(live, kind=CallKind.MAP, inputs=2)

        assert await given(plane, live) == [(0, 1)], "One T4 is left, which is not enough for another container"

    async def test_they_are_free_again_when_it_has_ended(self, plane):
        _, live = await plane.deploy(**asking("T4", 2))
        await plane.call(live, kind=CallKind.MAP, inputs=2)
        await plane.autoscaler.step()
        (first,) = plane.tasks_of(live)
        plane.tasks.record_ready(first)

        await plane.tasks.record_exit(first.id, TaskExit(kind=ExitKind.FINISHED))

        assert await given(plane, live) == [(0, 1)]
        assert plane.machines.gpus_in_words() == "1 x NVIDIA A100-SXM4-80GB, 3 x Tesla T4; 2 in use"

    async def test_they_stay_taken_over_a_restart_of_the_engine(self, plane, a_plane):
        _, live = await plane.deploy(**asking("T4", 2))
        await plane.call(live)
        await plane.autoscaler.step()
        (task,) = plane.tasks_of(live)
        plane.tasks.record_ready(task)
        await plane.journal.flush()
        after = a_plane(*T4S, A100, store=plane.store, clock=plane.clock)
        after.worker.left = {task.id}

        await after.restart.restore()
        await after.call(again := await after.functions.live(live.id), kind=CallKind.MAP, inputs=5)
        await after.autoscaler.step()

        assert [each.task.gpus for each in after.tasks_of(again)] == [(0, 1)]
        assert "0 x " not in after.decisions.latest(live.id).shortage.no_place.reason
        assert "2 x Tesla T4 are asked for and 1 of 3 are free" in after.decisions.latest(live.id).shortage.no_place.reason

    async def test_nothing_is_made_ahead_for_who_will_have_one(self, plane):
        _, live = await plane.deploy(**asking("T4"))

        await Foresight(apps=plane.apps, launches=plane.launches, worker=plane.worker).step()

        assert plane.worker.expected == []
        assert await plane.launches.expected(live.id) is None


class TestAlternatives:
    async def test_the_first_that_is_free_is_taken(self, plane):
        app = await plane.an_app()
        message = wire.with_alternatives(alternatives("H100", "A100", "T4", image_id=(await plane.an_image()).id).ranked_functions)
        live = await plane.functions.create(app, message, "")
        await plane.publish(app, live)
        await plane.call(live, kind=CallKind.MAP, inputs=3)

        assert await given(plane, live) == [(3,), (0,), (1,)]

    async def test_clients_are_told_all_of_them(self, plane):
        app = await plane.an_app()
        rpcs = FunctionRpcs(apps=plane.apps, functions=plane.functions, scaling=plane.scaling)
        request = api_pb2.FunctionCreateRequest(app_id=app.id, function_data=alternatives("A100", "T4"))

        answer = await rpcs.FunctionCreate(request, CALLER)

        told = [ranked.function.resources.gpu_config for ranked in answer.function_data.ranked_functions]
        assert [(config.gpu_type, config.count) for config in told] == [("A100", 1), ("T4", 1)]
        live = await plane.functions.live(answer.function_id)
        assert [config.gpu_type for config in wire.summary(live.message).gpu_config] == ["A100", "T4"]

    async def test_an_option_replaces_them(self, plane):
        app = await plane.an_app()
        message = wire.with_alternatives(alternatives("A100", "T4").ranked_functions)
        live = await plane.functions.create(app, message, "")
        options = api_pb2.FunctionOptions(**asking("T4", 2))

        bound = await plane.functions.bind(live.id, api_pb2.FunctionBindParamsRequest(function_options=options))

        assert [(one.type, one.count) for one in bound.spec.resources.gpus] == [("T4", 2)]

    async def test_older_clients_name_types_by_number(self, plane):
        config = api_pb2.GPUConfig(type=api_pb2.GPU_TYPE_A100_80GB, count=1)
        live = await plane.define(await plane.an_app(), resources={"gpu_config": config})
        assert [one.type for one in live.spec.resources.gpus] == ["A100-80GB"]

    async def test_none_is_none(self, plane):
        live = await plane.define(await plane.an_app(), **asking("T4", 0))
        assert live.spec.resources.gpus == ()


class TestNever:
    async def test_what_no_machine_has_is_refused_at_deploy_with_what_there_is_and_what_to_do(self, plane):
        with pytest.raises(
            InvalidRequest, match=r"'f' asks for gpu=\"H100\", and what is here is 1 x NVIDIA A100.*, 3 x Tesla T4"
        ) as refusal:
            await plane.define(await plane.an_app(), **asking("H100"))
        assert "--gpu-fallback cpu" in str(refusal.value)

    async def test_a_text_that_is_no_type_leaves_no_definition_behind(self, plane):
        with pytest.raises(InvalidRequest, match="is no type of GPU"):
            await plane.define(await plane.an_app(), **asking("T4,T4"))

    async def test_a_variant_is_refused_when_it_is_made(self, plane):
        _, live = await plane.deploy()
        options = api_pb2.FunctionOptions(**asking("T4", 4))
        with pytest.raises(InvalidRequest, match='gpu="T4:4"'):
            await plane.functions.bind(live.id, api_pb2.FunctionBindParamsRequest(function_options=options))

    async def test_a_call_fails_at_once_when_the_machine_has_lost_them_since(self, plane, a_plane):
        _, live = await plane.deploy(**asking("A100"))
        after = a_plane(*T4S, store=plane.store, clock=plane.clock)
        await after.restart.restore()
        call = await after.call(await after.functions.live(live.id))

        await after.autoscaler.step()

        result = call.latest[0].result
        assert result.status == R.GENERIC_STATUS_INIT_FAILURE
        assert result.exception == 'It asks for gpu="A100", and what is here is 3 x Tesla T4.'
        (first, *_) = (await after.explanations.why({"subject": live.id}))["sentences"][1:]
        assert first == 'It asks for gpu="A100", and what is here is 3 x Tesla T4.'

    async def test_steps_of_images_are_refused_too(self, plane):
        with pytest.raises(InvalidRequest, match='A step of the image asks for gpu="H100"'):
            await plane.images.get_or_create(image_request(gpu_config={"gpu_type": "H100", "count": 1}), CALLER)


class TestFallback:
    @pytest.fixture
    def plane(self, a_plane):
        return a_plane(fallback=GpuFallback.CPU)

    async def test_a_function_runs_on_the_cpu(self, plane):
        _, live = await plane.deploy(**asking("T4"))
        await plane.call(live)

        assert await given(plane, live) == [()]
        assert (await plane.launches.expected(live.id)).function_id == live.id, "nothing keeps it from being forked"

    async def test_the_deploy_says_so(self, plane):
        _, live = await plane.deploy(**asking("T4"))

        assert await plane.scaling.cautions([live.id]) == [
            'f asks for gpu="T4", and there is no GPU here: it runs on the CPU (gpu_fallback).'
        ]

    async def test_so_does_the_log_at_each_start(self, plane):
        _, live = await plane.deploy(**asking("T4"))
        await plane.call(live)
        await plane.autoscaler.step()
        (task,) = plane.tasks_of(live)

        await plane.reports.task_started(task.id, "")

        said = [entry.entry.text for entry in plane.log_store.recent(live.function.app_id, 0, 10)]
        assert said == ['f asks for gpu="T4", and there is no GPU here: it runs on the CPU (gpu_fallback).\n']

    async def test_and_the_status(self, plane):
        assert plane.machines.gpus_in_words() == "none (what is not there runs on the CPU)"

    async def test_what_there_is_is_used(self, a_plane):
        plane = a_plane(*T4S, fallback=GpuFallback.CPU)
        _, live = await plane.deploy(**asking("T4"))
        await plane.call(live)

        assert await given(plane, live) == [(0,)]
        assert await plane.scaling.cautions([live.id]) == []

    async def test_steps_of_images_run_there_too_and_say_so(self, plane):
        image = await plane.images.get_or_create(image_request(gpu_config={"gpu_type": "T4", "count": 1}), CALLER)
        await plane.builds.step()

        (build,) = plane.worker.builds
        assert (build.image_id, build.gpus) == (image.id, ())
        assert build.remark == 'It asks for gpu="T4", and there is no GPU here: it runs on the CPU (gpu_fallback).'


class TestBuilds:
    async def test_steps_get_devices_that_nobody_has_if_there_are(self, plane):
        _, live = await plane.deploy(**asking("T4"))
        await plane.call(live)
        await plane.autoscaler.step()
        await plane.images.get_or_create(image_request(gpu_config={"gpu_type": "T4", "count": 2}), CALLER)
        await plane.images.get_or_create(image_request(gpu_config={"gpu_type": "T4", "count": 3}), CALLER)

        await plane.builds.step()

        assert sorted(build.gpus for build in plane.worker.builds) == [(0, 1, 2), (1, 2)], "They wait for nobody, and share if they must"

    async def test_a_function_that_runs_in_a_build_asks_for_itself(self, plane):
        app = await plane.an_app()
        base = await plane.an_image()
        builder = await plane.define(app, "build", image_id=base.id, is_builder_function=True, **asking("A100"))
        request = image_request(base_images=[{"image_id": base.id, "docker_tag": "base"}], build_function_id=builder.id)
        await plane.images.get_or_create(request, CALLER)

        await plane.builds.step()

        assert [build.gpus for build in plane.worker.builds if build.function] == [(3,)]


async def test_regions_and_clouds_are_accepted_and_mean_nothing(plane):
    app = await plane.an_app()
    live = await plane.define(app, scheduler_placement={"regions": ["us-west-2"]}, cloud_provider_str="AWS")

    assert await plane.scaling.cautions([live.id]) == []
