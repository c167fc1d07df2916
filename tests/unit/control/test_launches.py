"""What a task is started with: its image, files and environment, and the arguments that modal's entrypoint reads."""

from dataclasses import replace

import pytest
from fakes.control import layout_of
from modal_proto import api_pb2

from freehold.control.services.apps import Publication
from freehold.control.services.secrets import WantedSecret
from freehold.domain.apps import AppState
from freehold.domain.creation import Creation
from freehold.domain.errors import InvalidRequest, NotFound, Unavailable
from freehold.domain.images import ImageConfig, ImageState
from freehold.domain.volumes import VolumeMount


async def launched(plane, live, **task_fields):
    task = plane.tasks.create(live.function, live.definition_id, "test", **task_fields)
    return await plane.launches.spec(task)


def arguments_of(spec):
    return api_pb2.ContainerArguments.FromString(spec.arguments)


class TestArguments:
    async def test_the_task_learns_its_own_definition(self, plane):
        app, live = await plane.deploy(timeout_secs=5)
        spec = await launched(plane, live)
        arguments = arguments_of(spec)
        assert (arguments.task_id, arguments.function_id, arguments.app_id) == (spec.task_id, live.id, app.id)
        assert (arguments.function_def.timeout_secs, arguments.environment_name) == (5, "main")

    async def test_it_learns_its_siblings_with_their_handles(self, plane):
        _, first, second = await plane.deploy("f", "g")
        layout = arguments_of(await launched(plane, first)).app_layout
        assert dict(layout.function_ids) == {"f": first.id, "g": second.id}
        handles = {item.object_id: item.function_handle_metadata.function_name for item in layout.objects}
        assert handles == {first.id: "f", second.id: "g"}

    async def test_every_object_that_the_function_depends_on_is_there_once(self, plane):
        app, sibling = await plane.deploy("g")
        image = await plane.an_image()
        live = await plane.define(app, "f", image_id=image.id, object_dependencies=[{"object_id": sibling.id}, {"object_id": image.id}])
        objects = [item.object_id for item in arguments_of(await launched(plane, live)).app_layout.objects]
        assert sorted(objects) == sorted([live.id, sibling.id, image.id])

    async def test_classes_come_with_their_methods(self, plane):
        app, service = await plane.deploy("Model.*")
        request = api_pb2.ClassCreateRequest(app_id=app.id, methods=[{"function_name": "predict"}])
        user_class = await plane.functions.create_class(app, request)
        layout = replace(layout_of(service), class_ids={"Model": user_class.id})
        await plane.apps.publish(app.id, Publication(state=AppState.DEPLOYED, layout=layout, name="shop"))
        layout = arguments_of(await launched(plane, service)).app_layout
        assert dict(layout.class_ids) == {"Model": user_class.id}
        (handle,) = [item.class_handle_metadata for item in layout.objects if item.object_id == user_class.id]
        assert [method.function_name for method in handle.methods] == ["predict"]

    async def test_a_bound_variant_runs_as_itself_and_finds_the_app_by_its_base(self, plane):
        _, live = await plane.deploy()
        bound = await plane.functions.bind(live.id, api_pb2.FunctionBindParamsRequest(serialized_params=b"a"))
        arguments = arguments_of(await launched(plane, bound))
        assert (arguments.function_id, arguments.serialized_params) == (bound.id, b"a")
        assert dict(arguments.app_layout.function_ids) == {"f": live.id}

    async def test_an_app_that_is_not_published_yet_shows_its_own_function(self, plane):
        app = await plane.an_app()
        live = await plane.define(app, "download", image_id=(await plane.an_image()).id)
        assert dict(arguments_of(await launched(plane, live)).app_layout.function_ids) == {"download": live.id}


class TestSurroundings:
    async def test_mounts_with_files_become_trees(self, plane):
        mount = await plane.a_mount()
        _, live = await plane.deploy(mount_ids=[mount.id])
        assert [tree.id for tree in (await launched(plane, live)).trees] == [mount.tree.id]

    async def test_secrets_become_environment_and_cannot_take_the_engines_names(self, plane):
        wanted = WantedSecret(environment="", name="s", creation=Creation.OVERWRITE, env={"KEY": "value", "MODAL_REGION": "mars"})
        secret = await plane.secrets.get_or_create(wanted)
        _, live = await plane.deploy(secret_ids=[secret.id])
        env = (await launched(plane, live)).env
        assert (env["KEY"], env["MODAL_REGION"], env["MODAL_ENVIRONMENT"]) == ("value", "local", "main")

    async def test_only_what_was_named_as_a_limit_binds(self, plane):
        _, live = await plane.deploy(resources={"memory_mb": 256, "memory_mb_max": 512, "milli_cpu": 2000})
        limits = (await launched(plane, live)).limits
        assert (limits.memory_mib, limits.milli_cpu, limits.pids) == (512, 0, plane.settings.pids_limit)

    async def test_a_function_can_be_cut_from_the_network(self, plane):
        _, live = await plane.deploy(block_network=True)
        assert (await launched(plane, live)).network is False


class TestVolumes:
    async def test_they_are_mounted_and_their_handles_are_known(self, plane):
        volume = await plane.a_volume()
        mounts, needed = [{"volume_id": volume.id, "mount_path": "/v"}], [{"object_id": volume.id}]
        _, live = await plane.deploy(volume_mounts=mounts, object_dependencies=needed)
        spec = await launched(plane, live)
        assert spec.volumes == (VolumeMount(volume_id=volume.id, path="/v"),)
        (told,) = [item for item in arguments_of(spec).app_layout.objects if item.object_id == volume.id]
        assert (told.volume_metadata.name, told.volume_metadata.version) == ("models", api_pb2.VOLUME_FS_VERSION_V1)

    async def test_nothing_starts_with_one_that_was_deleted(self, plane):
        volume = await plane.a_volume()
        _, live = await plane.deploy(volume_mounts=[{"volume_id": volume.id, "mount_path": "/v"}])
        await plane.volumes.delete(volume.id)
        with pytest.raises(NotFound, match="It may have been deleted"):
            await launched(plane, live)


class TestClient:
    async def test_the_container_gets_the_client_that_deployed_and_web_where_it_is_needed(self, plane):
        _, live = await plane.deploy(webhook_config={"type": api_pb2.WEBHOOK_TYPE_FUNCTION})
        client = (await launched(plane, live)).client
        assert (client.version, client.python_series, client.with_web) == ("1.6.4", "3.11", True)

    @pytest.mark.parametrize(
        ("builder_version", "asked", "with_dependencies"),
        [("2024.10", False, False), ("2024.10", True, True), ("2025.06", False, True)],
    )
    async def test_dependencies_come_with_new_builders_or_on_demand(self, plane, builder_version, asked, with_dependencies):
        image = await plane.an_image(builder_version=builder_version)
        _, live = await plane.deploy(image_id=image.id, mount_client_dependencies=asked)
        assert (await launched(plane, live)).client.with_dependencies is with_dependencies

    async def test_an_image_without_python_is_refused_with_what_to_do(self, plane):
        image = await plane.an_image(config=ImageConfig())
        _, live = await plane.deploy(image_id=image.id)
        with pytest.raises(Unavailable, match="has no Python on its PATH"):
            await launched(plane, live)

    async def test_an_image_that_is_not_built_is_refused(self, plane):
        image = await plane.an_image(state=ImageState.WANTED)
        _, live = await plane.deploy(image_id=image.id)
        with pytest.raises(InvalidRequest, match="cannot be used yet"):
            await launched(plane, live)
