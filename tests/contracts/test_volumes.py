"""What every place for the files of volumes must do, also while containers put links, pipes and worse into it."""

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold import disk
from freehold.domain.errors import AlreadyExists, Conflict, InvalidRequest, NotFound
from freehold.domain.ids import new_volume_id
from freehold.domain.volumes import BLOCK_SIZE, EntryKind, new_file, path_parts
from freehold.store.volumes.folders import VolumeFolders

VOLUME = new_volume_id()
names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)


@pytest.fixture
async def files(tmp_path, content):
    files = VolumeFolders(tmp_path / "volumes", content)
    await files.open()
    await files.create(VOLUME)
    return files


@pytest.fixture
def root(tmp_path, files):
    """Of the volume, as a container that has it mounted sees it."""
    return tmp_path / "volumes" / VOLUME


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    yield folder
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"secret": "secret"}


@pytest.fixture(autouse=True)
def _nothing_is_left_passing(tmp_path):
    yield
    assert list((tmp_path / "volumes").glob("passing/*")) == []


async def put(files, content, *, overwrite=False, **contents):
    new = [new_file(path, blocks=[await content.put_bytes(data)], mode=0o640) for path, data in contents.items()]
    await files.put(VOLUME, new, overwrite=overwrite)


async def listed(files, path="/", *, recursive=True):
    return [entry async for batch in files.entries(VOLUME, path_parts(path), recursive=recursive) for entry in batch]


async def paths(files, path="/"):
    return [entry.path for entry in await listed(files, path)]


async def read(files, path):
    found = await files.find(VOLUME, path_parts(path))
    with await files.open_found(VOLUME, found) as file:
        return file.read()


class TestFiles:
    async def test_a_file_is_there_with_its_folders_content_and_mode(self, files, content, root):
        await put(files, content, **{"/a/b/c.txt": b"text"})

        assert (root / "a/b/c.txt").read_bytes() == b"text" == await read(files, "a/b/c.txt")
        assert stat.S_IMODE((root / "a/b/c.txt").stat().st_mode) == 0o640
        assert stat.S_IMODE((root / "a/b").stat().st_mode) == 0o755

    async def test_writing_to_it_does_not_change_the_content_that_it_came_from(self, files, content, root):
        await put(files, content, a=b"text")

        with (root / "a").open("r+b") as file:
            file.write(b"TEXT")

        assert content.path_of(await content.put_bytes(b"text")).read_bytes() == b"text"

    async def test_blocks_are_put_together_with_the_zeros_that_were_left_out(self, files, content, root):
        first, last = b"1" * 1000, b"2"
        blocks = [await content.put_bytes(data) for data in (first, b"", last)]
        size = 2 * BLOCK_SIZE + 3

        await files.put(VOLUME, [new_file("big", blocks=blocks, mode=0o644, size=size)], overwrite=False)

        assert (root / "big").read_bytes() == first.ljust(2 * BLOCK_SIZE, b"\0") + b"2\0\0"

    async def test_a_block_that_is_longer_than_its_place_is_refused(self, files, content):
        block = await content.put_bytes(b"12345")
        with pytest.raises(InvalidRequest, match="longer"):
            await files.put(VOLUME, [new_file("short", blocks=[block], mode=0o644, size=4)], overwrite=False)

    async def test_what_is_there_is_replaced_on_demand_only_and_then_at_once(self, files, content, root):
        await put(files, content, a=b"old")
        with (root / "a").open("rb") as reader:
            with pytest.raises(AlreadyExists, match="force"):
                await put(files, content, new=b"x", a=b"new")
            assert await paths(files) == ["a"]
            await put(files, content, overwrite=True, a=b"new")
            assert reader.read() == b"old", "whoever reads it goes on with what it was"
        assert await read(files, "a") == b"new"

    async def test_a_folder_is_never_replaced_by_a_file(self, files, content):
        await put(files, content, **{"a/b": b"x"})
        with pytest.raises(InvalidRequest, match="is a folder"):
            await put(files, content, overwrite=True, a=b"y")
        with pytest.raises(InvalidRequest, match="no folder"):
            await put(files, content, overwrite=True, **{"a/b/c": b"y"})

    async def test_an_upload_with_a_file_that_cannot_be_leaves_the_others_out(self, files, content):
        await put(files, content, **{"folder/b": b"x", "file": b"x"})
        for path in ("folder", "file/c"):
            with pytest.raises(InvalidRequest):
                await put(files, content, overwrite=True, **{"a": b"y", path: b"y"})
        assert await paths(files) == ["file", "folder", "folder/b"]

    async def test_content_that_is_not_here_leaves_nothing(self, files):
        with pytest.raises(NotFound):
            await files.put(VOLUME, [new_file("a", blocks=["0" * 64], mode=0o644)], overwrite=False)
        assert await paths(files) == []

    async def test_a_file_that_was_replaced_since_it_was_found_is_not_read_for_it(self, files, content):
        await put(files, content, a=b"first")
        found = await files.find(VOLUME, ("a",))
        await put(files, content, overwrite=True, a=b"other")
        with pytest.raises(Conflict, match="replaced"):
            await files.open_found(VOLUME, found)

    async def test_a_file_that_has_grown_is_read_as_far_as_it_was_found(self, files, content, root):
        await put(files, content, a=b"first")
        found = await files.find(VOLUME, ("a",))
        with (root / "a").open("ab") as log:
            log.write(b" and more")
        with await files.open_found(VOLUME, found) as file:
            assert file.read(found.size) == b"first"

    async def test_many_files_of_one_folder_are_told_in_batches(self, files, root):
        for number in range(2500):
            (root / f"{number:04}").touch()
        batches = [batch async for batch in files.entries(VOLUME, (), recursive=False)]
        assert len(batches) == 3
        assert {entry.path for batch in batches for entry in batch} == {f"{number:04}" for number in range(2500)}


class TestCopies:
    async def test_a_file_becomes_another_or_goes_into_a_folder(self, files, content):
        await put(files, content, **{"a": b"1", "folder/x": b"2"})
        await files.copy(VOLUME, [("a",)], ("b",), into=False, recursive=False)
        await files.copy(VOLUME, [("a",), ("b",)], ("folder",), into=False, recursive=False)
        assert await paths(files) == ["a", "b", "folder", "folder/a", "folder/b", "folder/x"]

    async def test_a_folder_is_copied_with_all_below_and_merged(self, files, content, root):
        await put(files, content, **{"a/b/c": b"1", "to/a/b/d": b"2"})
        (root / "a/empty").mkdir()
        (root / "a/link").symlink_to("/etc")
        os.mkfifo(root / "a/pipe")
        await files.copy(VOLUME, [("a",)], ("to",), into=True, recursive=True)
        assert await paths(files, "to") == ["to/a", "to/a/b", "to/a/empty", "to/a/link", "to/a/b/c", "to/a/b/d"]
        assert (root / "to/a/link").readlink() == Path("/etc")

    async def test_what_cannot_be_copied_is_said(self, files, content):
        await put(files, content, **{"a/b": b"1", "c": b"2"})
        for sources, target, into, recursive, error in [
            ([("missing",)], ("x",), False, False, NotFound),
            ([("a",)], ("x",), False, False, InvalidRequest),
            ([("a",)], ("a", "inside"), False, True, InvalidRequest),
            ([("a",)], ("a",), False, True, InvalidRequest),
            ([("c",), ("c",)], ("x",), False, False, NotFound),
            ([("c",)], ("x",), True, False, NotFound),
            ([("c",)], ("no", "folder"), False, False, NotFound),
        ]:
            with pytest.raises(error):
                await files.copy(VOLUME, sources, target, into=into, recursive=recursive)
        assert await paths(files) == ["a", "c", "a/b"]


class TestRemoval:
    async def test_files_and_folders_go(self, files, content):
        await put(files, content, **{"a/b/c": b"1", "a/d": b"2", "e": b"3"})
        await files.remove(VOLUME, ("e",), recursive=False)
        with pytest.raises(InvalidRequest, match="recursive"):
            await files.remove(VOLUME, ("a",), recursive=False)
        await files.remove(VOLUME, ("a",), recursive=True)
        assert await paths(files) == []

    async def test_the_root_is_emptied(self, files, content, root):
        await put(files, content, **{"a/b": b"1", "c": b"2"})
        with pytest.raises(InvalidRequest):
            await files.remove(VOLUME, (), recursive=False)
        await files.remove(VOLUME, (), recursive=True)
        assert list(root.iterdir()) == []

    async def test_folders_of_any_depth_go(self, files, root):
        """Deeper than recursion goes, and than a path can name."""
        descriptor = os.open(root, os.O_RDONLY)
        for _ in range(3000):
            os.mkdir("deep", dir_fd=descriptor)
            below = os.open("deep", os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        os.close(descriptor)

        await files.remove(VOLUME, ("deep",), recursive=True)

        assert list(root.iterdir()) == []

    async def test_a_volume_goes_with_all_that_is_in_it_and_can_be_deleted_twice(self, files, content, root):
        await put(files, content, **{"a/b": b"1"})
        await files.delete(VOLUME)
        await files.delete(VOLUME)
        assert not root.exists()

    async def test_what_a_killed_engine_was_writing_or_deleting_goes_at_the_next_start(self, tmp_path, files):
        passing = tmp_path / "volumes" / "passing"
        (passing / "half/deleted").mkdir(parents=True)
        (passing / "half-written").touch()
        await files.open()
        assert list(passing.iterdir()) == []


class TestSafety:
    """`root` is what a container may do with its mount: anything."""

    @pytest.fixture(params=["folder", "file", "up"])
    def link(self, request, root, outside):
        """A way out of the volume, and the rest of the way to the file outside."""
        target = {"folder": outside, "file": outside / "secret", "up": Path("../../outside")}[request.param]
        (root / "link").symlink_to(target)
        return ("link",) if request.param == "file" else ("link", "secret")

    async def test_nothing_outside_is_read(self, files, link):
        with pytest.raises(InvalidRequest):
            await files.find(VOLUME, link)
        with pytest.raises(InvalidRequest):
            await files.copy(VOLUME, [("link", "secret")], ("copy",), into=False, recursive=True)
        assert [entry.kind for entry in await listed(files)] == [EntryKind.LINK]
        assert [entry.kind for entry in await listed(files, "link")] == [EntryKind.LINK]
        with pytest.raises(InvalidRequest):
            await listed(files, "link/secret")

    async def test_nothing_outside_is_written(self, files, content, link, root):
        with pytest.raises(InvalidRequest):
            await put(files, content, overwrite=True, **{"link/new": b"x"})
        with pytest.raises(InvalidRequest):
            await put(files, content, overwrite=True, **{"link/secret": b"x"})
        await put(files, content, a=b"x")
        with pytest.raises(InvalidRequest):
            await files.copy(VOLUME, [("a",)], ("link", "secret"), into=False, recursive=False)
        await put(files, content, overwrite=True, link=b"x")
        assert not (root / "link").is_symlink(), "the link itself was replaced"

    async def test_nothing_outside_is_removed(self, files, link):
        with pytest.raises(InvalidRequest):
            await files.remove(VOLUME, ("link", "secret"), recursive=True)
        await files.remove(VOLUME, ("link",), recursive=True)
        assert await paths(files) == []

    async def test_a_folder_full_of_links_is_removed_without_what_they_lead_to(self, files, root, outside):
        (root / "a").mkdir()
        (root / "a/link").symlink_to(outside)
        await files.remove(VOLUME, ("a",), recursive=True)
        await files.delete(VOLUME)

    async def test_pipes_sockets_and_devices_are_told_and_never_opened(self, files, root):
        """To open a pipe would wait for its other end."""
        os.mkfifo(root / "pipe")
        if os.geteuid() == 0:
            os.mknod(root / "device", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        kinds = {entry.path: entry.kind for entry in await listed(files)}
        assert kinds["pipe"] is EntryKind.PIPE
        assert kinds.get("device", EntryKind.OTHER) is EntryKind.OTHER
        for path in kinds:
            with pytest.raises(InvalidRequest, match="pipe or a device"):
                await files.find(VOLUME, (path,))

    async def test_names_that_are_no_text_are_listed_and_removed(self, files, root):
        strange = root / os.fsdecode(b"\xff\xfe")
        strange.mkdir()
        (strange / os.fsdecode(b"\xfd")).touch()
        assert len(await listed(files)) == 2
        await files.remove(VOLUME, (), recursive=True)
        assert await paths(files) == []

    async def test_ids_that_are_none_name_no_folder(self, files, outside):
        for volume_id in ("../outside", "", "passing", "vo-1", f"{VOLUME}/../../outside"):
            with pytest.raises(NotFound):
                await files.delete(volume_id)

    async def test_a_folder_that_turns_into_a_link_and_back_all_the_time_leads_nowhere(self, files, content, root, outside):
        """Between any two steps of ours a container may exchange one for the other."""
        (root / "a").mkdir()
        (root / "b").symlink_to(outside)
        ended = threading.Event()

        def exchange():
            while not ended.is_set():
                for former, latter in (("a", "x"), ("b", "a"), ("x", "b"), ("a", "x"), ("b", "a"), ("x", "b")):
                    try:
                        (root / former).rename(root / latter)
                    except OSError:
                        (root / "a").mkdir(exist_ok=True)

        thread = threading.Thread(target=exchange)
        thread.start()
        try:
            for number in range(200):
                for attempt in (
                    put(files, content, overwrite=True, **{"a/new": b"%d" % number}),
                    files.remove(VOLUME, ("a", "secret"), recursive=True),
                    files.find(VOLUME, ("a", "secret")),
                ):
                    with suppress(InvalidRequest, NotFound):
                        assert await attempt is None
        finally:
            ended.set()
            thread.join()

    @given(parts=st.lists(st.one_of(names, st.sampled_from(["", ".", "..", "/"])), max_size=6))
    @settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_no_path_leads_out(self, tmp_path, parts):
        root = tmp_path / "inside"
        root.mkdir(exist_ok=True)
        try:
            found = path_parts("/".join(parts))
        except InvalidRequest:
            return
        descriptor = disk.open_folder(root, found, make=True)
        try:
            assert Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(root)
        finally:
            os.close(descriptor)
