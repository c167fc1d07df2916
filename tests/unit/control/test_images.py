"""Images: one request, one image; what fails is tried again; ids that change without a reason do not build anew."""

import pytest
from fakes.control import CALLER, image_request

from freehold.control.services.secrets import WantedSecret
from freehold.domain.creation import Creation
from freehold.domain.errors import InvalidRequest, NotFound
from freehold.domain.images import ImageState


async def get(plane, *commands, **fields):
    return await plane.images.get_or_create(image_request(*commands, **fields), CALLER)


async def a_secret(plane, name, **env):
    return await plane.secrets.get_or_create(WantedSecret(environment="", name=name, creation=Creation.OVERWRITE, env=env))


class TestReuse:
    async def test_the_same_request_is_the_same_image(self, plane):
        assert (await get(plane, "FROM a")).id == (await get(plane, "FROM a")).id

    async def test_other_commands_are_another_image(self, plane):
        assert (await get(plane, "FROM a")).id != (await get(plane, "FROM b")).id

    async def test_another_builder_version_is_another_image(self, plane):
        assert (await get(plane)).id != (await get(plane, builder_version="2024.10")).id

    async def test_an_image_that_failed_is_tried_again(self, plane):
        failed = await plane.an_image(state=ImageState.FAILED)
        again = await get(plane)
        assert (again.id != failed.id, again.state) == (True, ImageState.WANTED)

    async def test_a_forced_build_is_new_and_later_requests_find_it(self, plane):
        built = await plane.an_image()
        plane.clock.move(1)
        forced = await get(plane, force=True)
        assert forced.id != built.id
        assert plane.images.order_of(forced.id).force
        assert (await get(plane)).id == forced.id

    async def test_force_joins_a_build_that_runs(self, plane):
        wanted = await plane.an_image(state=ImageState.WANTED)
        assert (await get(plane, force=True)).id == wanted.id


class TestKey:
    async def test_mounts_count_by_their_files(self, plane):
        first, same, other = await plane.a_mount(), await plane.a_mount(), await plane.a_mount(data=b"other")
        keys = [(await get(plane, context_mount_id=mount.id)).key for mount in (first, same, other)]
        assert keys[0] == keys[1] != keys[2]

    async def test_secrets_count_by_name_and_keys_and_not_by_their_values(self, plane):
        first = await a_secret(plane, "pip", TOKEN="old")
        key = (await get(plane, secret_ids=[first.id])).key
        rotated = await a_secret(plane, "pip", TOKEN="new")
        assert (await get(plane, secret_ids=[rotated.id])).key == key
        wider = await a_secret(plane, "pip", TOKEN="new", USER="me")
        assert (await get(plane, secret_ids=[wider.id])).key != key

    async def test_the_function_of_a_build_counts_by_its_code_and_not_by_its_id(self, plane):
        keys = [
            (await get(plane, build_function_id=function_id, build_function={"definition": code})).key
            for function_id, code in (("fu-1", "a"), ("fu-2", "a"), ("fu-1", "b"))
        ]
        assert keys[0] == keys[1] != keys[2]


class TestBuilding:
    async def test_a_new_image_wakes_its_builder(self, plane):
        generation = plane.images_wanted.generation
        await get(plane)
        assert plane.images_wanted.generation != generation

    async def test_a_built_image_can_be_used_and_its_log_is_done(self, plane):
        image = await plane.an_image()
        assert (await plane.images.get_built(image.id)).layers == ("layer",)
        assert plane.logs.is_done(image.id)

    async def test_an_image_that_failed_says_why_it_cannot_be_used(self, plane):
        image = await plane.an_image(state=ImageState.FAILED)
        with pytest.raises(InvalidRequest, match="no such package"):
            await plane.images.get_built(image.id)

    async def test_the_client_of_the_caller_is_remembered_until_the_end_of_the_build(self, plane):
        image = await get(plane)
        assert plane.images.order_of(image.id).client_version == "1.6.4"
        await plane.images.record_finished(image.id, "no")
        assert plane.images.order_of(image.id).client_version == ""

    async def test_an_unknown_image_is_not_found(self, plane):
        with pytest.raises(NotFound):
            await plane.images.get("im-unknown")


class TestRefusals:
    async def test_an_image_needs_a_base(self, plane):
        request = image_request()
        request.message.ClearField("dockerfile_commands")
        with pytest.raises(InvalidRequest, match="at least a base"):
            await plane.images.get_or_create(request, CALLER)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"volume_mounts": [{"volume_id": "vo-1"}]}, "not built yet"),
            ({"gpu_config": {"gpu_type": "H100", "count": 1}}, "no GPU here"),
        ],
    )
    async def test_what_builds_cannot_have_is_refused(self, plane, fields, words):
        with pytest.raises(InvalidRequest, match=words):
            await get(plane, **fields)
