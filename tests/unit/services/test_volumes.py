"""Volumes by name, ephemeral ones, and the links to their files."""

from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from fakes.clock import FakeClock

from freehold.config import Settings
from freehold.control.caller import Caller
from freehold.control.services.blobs import Blobs
from freehold.control.services.environments import Environments
from freehold.control.services.volume_files import VolumeFiles
from freehold.control.services.volumes import Volumes, WantedVolume
from freehold.domain.creation import Creation
from freehold.domain.errors import AlreadyExists, Conflict, InvalidRequest, NotFound, Unauthenticated
from freehold.domain.ids import TaskId
from freehold.domain.volumes import BLOCK_SIZE, EPHEMERAL_LIFE, new_file
from freehold.store.keyring import Keyring
from freehold.store.memory.store import MemoryStore
from freehold.store.volumes.folders import VolumeFolders

NAMED = WantedVolume(environment="", name="models", creation=Creation.IF_MISSING)
EPHEMERAL = replace(NAMED, name="", creation=Creation.EPHEMERAL)
LIFE = EPHEMERAL_LIFE.total_seconds()
TASK = Caller(task_id=TaskId("ta-1"))


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def folders(tmp_path, content):
    folders = VolumeFolders(tmp_path / "volumes", content)
    await folders.open()
    return folders


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def environments(store, clock):
    return Environments(store=store, clock=clock, settings=Settings())


@pytest.fixture
def volumes(store, folders, environments, clock):
    return Volumes(store=store, files=folders, environments=environments, clock=clock)


@pytest.fixture
def blobs(store, content, clock, tmp_path):
    return Blobs(store=store, content=content, keyring=Keyring.open(tmp_path), clock=clock, settings=Settings())


@pytest.fixture
def files(volumes, folders, content, blobs, tmp_path):
    keyring, settings = Keyring.open(tmp_path), Settings()
    return VolumeFiles(volumes=volumes, files=folders, content=content, blobs=blobs, keyring=keyring, settings=settings)


class TestNames:
    async def test_one_is_made_once_and_found_by_name_and_id(self, volumes):
        made = await volumes.get_or_create(NAMED)

        assert await volumes.get_or_create(NAMED) == await volumes.get_or_create(replace(NAMED, creation=Creation.LOOK_UP)) == made
        assert await volumes.get(made.id) == made
        assert (made.name, made.environment, made.version) == ("models", "main", 1)
        assert (await volumes.get_or_create(replace(NAMED, name="other", version=2))).version == 2

    async def test_what_is_not_there_or_is_there_is_said(self, volumes):
        with pytest.raises(NotFound, match="modal volume create -e main models"):
            await volumes.get_or_create(replace(NAMED, creation=Creation.LOOK_UP))
        await volumes.get_or_create(replace(NAMED, creation=Creation.MUST_BE_NEW))
        with pytest.raises(AlreadyExists, match="models"):
            await volumes.get_or_create(replace(NAMED, creation=Creation.MUST_BE_NEW))

    @pytest.mark.parametrize(
        "changes", [{"creation": Creation.OVERWRITE}, {"creation": Creation.ANONYMOUS}, {"name": "a/b"}, {"name": ""}, {"version": 3}]
    )
    async def test_what_makes_no_sense_is_refused(self, volumes, changes):
        with pytest.raises(InvalidRequest):
            await volumes.get_or_create(replace(NAMED, **changes))

    async def test_a_new_name_is_for_one_only(self, volumes):
        first = await volumes.get_or_create(NAMED)
        await volumes.get_or_create(replace(NAMED, name="taken"))
        with pytest.raises(AlreadyExists):
            await volumes.rename(first.id, "taken")
        await volumes.rename(first.id, "models")
        await volumes.rename(first.id, "new")
        assert (await volumes.get(first.id)).name == "new"
        with pytest.raises(InvalidRequest, match="no name"):
            await volumes.rename((await volumes.get_or_create(EPHEMERAL)).id, "name")

    async def test_they_follow_their_environment(self, volumes, environments):
        await environments.get_or_create("dev", Creation.IF_MISSING)
        made = await volumes.get_or_create(replace(NAMED, environment="dev"))
        await environments.update("dev", new_name="test", web_suffix=None)
        assert await volumes.list("test", limit=0, created_before=0) == [await volumes.get(made.id)]

    async def test_they_go_with_their_environment(self, volumes, environments, clock, tmp_path):
        await environments.get_or_create("dev", Creation.IF_MISSING)
        made = await volumes.get_or_create(replace(NAMED, environment="dev"))
        await environments.delete("dev")
        await volumes.expire()
        clock.move(LIFE + 1)
        await volumes.expire()
        with pytest.raises(NotFound):
            await volumes.get(made.id)
        assert not (tmp_path / "volumes" / made.id).exists()


class TestEphemeral:
    async def test_each_is_another_and_none_is_listed(self, volumes):
        assert (await volumes.get_or_create(EPHEMERAL)).id != (await volumes.get_or_create(EPHEMERAL)).id
        assert await volumes.list("", limit=0, created_before=0) == []

    async def test_one_lives_as_long_as_its_client_says_so(self, volumes, clock):
        volume = await volumes.get_or_create(EPHEMERAL)
        for _ in range(3):
            clock.move(LIFE - 1)
            await volumes.heartbeat(volume.id)
            await volumes.expire()
        clock.move(LIFE + 1)
        await volumes.expire()
        with pytest.raises(NotFound):
            await volumes.heartbeat(volume.id)

    async def test_a_client_has_its_time_with_a_new_engine(self, volumes, store, folders, environments, clock):
        volume = await volumes.get_or_create(EPHEMERAL)
        clock.move(2 * LIFE)
        later = Volumes(store=store, files=folders, environments=environments, clock=clock)
        await later.expire()
        assert await later.get(volume.id) == volume

    async def test_named_ones_do_not_expire(self, volumes, clock):
        volume = await volumes.get_or_create(NAMED)
        clock.move(100 * LIFE)
        await volumes.expire()
        assert await volumes.get(volume.id) == volume


class TestFiles:
    @pytest.fixture
    async def volume(self, volumes):
        return await volumes.get_or_create(NAMED)

    async def test_a_volume_that_is_not_there_has_no_files(self, files, content):
        unknown = "vo-" + "x" * 22
        new = [new_file("a", blocks=[await content.put_bytes(b"x")], mode=0o644)]
        for attempt in (
            files.put(unknown, new, overwrite=True),
            files.put_in_blocks(unknown, new, overwrite=True),
            files.copy(unknown, ["a"], "b", recursive=False),
            files.remove(unknown, "a", recursive=False),
            files.read(unknown, "a", start=0, length=0),
            files.commit(unknown, TASK),
            files.reload(unknown, TASK),
        ):
            with pytest.raises(NotFound, match=unknown):
                await attempt
        with pytest.raises(NotFound):
            async for _ in files.entries(unknown, "/", recursive=True, limit=0):
                pass

    async def test_no_more_is_listed_than_was_asked_for(self, files, volume, content):
        blocks = [await content.put_bytes(b"")]
        await files.put(volume.id, [new_file(f"{n}", blocks=blocks, mode=0o644) for n in range(9)], overwrite=False)
        assert [len(batch) async for batch in files.entries(volume.id, "/", recursive=True, limit=4)] == [4]

    async def test_blocks_that_are_missing_are_asked_for_once(self, files, volume, content):
        here, there = await content.put_bytes(b"1"), "0" * 64
        new = [new_file(name, blocks=[here, there, there], mode=0o644, size=2 * BLOCK_SIZE + 1) for name in ("a", "b")]
        assert list(await files.put_in_blocks(volume.id, new, overwrite=False)) == [(0, 1)]

    async def test_a_link_opens_its_blocks_and_no_others(self, files, volume, content):
        size = 2 * BLOCK_SIZE + 7
        blocks = [await content.put_bytes(data) for data in (b"1", b"2", b"3")]
        await files.put(volume.id, [new_file("a", blocks=blocks, mode=0o644, size=size)], overwrite=False)
        reading = await files.read(volume.id, "/a", start=0, length=0)
        assert (reading.size, reading.start, reading.length, len(reading.urls)) == (size, 0, size, 3)
        token, _, index = urlsplit(reading.urls[2]).path.removeprefix("/_freehold/volumes/").partition("/")

        file, start, length = await files.open_block(token, int(index))
        file.close()

        assert (start, length) == (2 * BLOCK_SIZE, 7)
        with pytest.raises(InvalidRequest, match="no block 3"):
            await files.open_block(token, 3)
        with pytest.raises(Unauthenticated):
            await files.open_block(files._blobs.block_url("0" * 64).rpartition("/")[2], 0)

    async def test_a_part_of_a_file_is_read(self, files, volume, content):
        await files.put(volume.id, [new_file("a", blocks=[await content.put_bytes(b"0123456789")], mode=0o644)], overwrite=False)
        for start, length, expected in [(2, 3, (2, 3)), (8, 100, (8, 2)), (100, 1, (10, 0))]:
            reading = await files.read(volume.id, "a", start=start, length=length)
            assert (reading.start, reading.length) == expected

    async def test_commit_and_reload_are_for_containers(self, files, volume):
        await files.commit(volume.id, TASK)
        await files.reload(volume.id, TASK)
        for ask in (files.commit, files.reload):
            with pytest.raises(Conflict, match="for containers"):
                await ask(volume.id, Caller())
