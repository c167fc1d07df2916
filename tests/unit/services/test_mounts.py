"""Mounts: files by digest become trees; what is wrong with them is said by name."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.config import Settings
from freehold.control.services.blobs import Blobs
from freehold.control.services.environments import Environments
from freehold.control.services.mounts import Mounts, WantedMount
from freehold.domain.clock import SystemClock
from freehold.domain.creation import Creation
from freehold.domain.errors import AlreadyExists, InvalidRequest, NotFound
from freehold.domain.files import TreeFile, checked_container_path, file_tree
from freehold.domain.ids import new_blob_id
from freehold.store.keyring import Keyring
from freehold.store.memory.store import MemoryStore

CODE = b"print('hello')"
DIGEST = hashlib.sha256(CODE).hexdigest()


@pytest.fixture
def blobs(content, tmp_path):
    return Blobs(store=MemoryStore(), content=content, keyring=Keyring.open(tmp_path), clock=SystemClock(), settings=Settings())


@pytest.fixture
def mounts(content, blobs):
    store, clock = MemoryStore(), SystemClock()
    environments = Environments(store=store, clock=clock, settings=Settings())
    return Mounts(store=store, content=content, blobs=blobs, environments=environments, clock=clock)


def anonymous(*files, app_id="ap-1"):
    return WantedMount(environment="", name="", is_global=False, creation=Creation.ANONYMOUS, files=files, app_id=app_id)


def published(creation, *files, name="shared", is_global=False):
    return WantedMount(environment="", name=name, is_global=is_global, creation=creation, files=files)


def a_file(path="/root/app.py", digest=DIGEST, mode=0o644):
    return TreeFile(path=path, digest=digest, mode=mode)


class TestFiles:
    async def test_an_uploaded_file_is_no_longer_missing(self, mounts):
        assert await mounts.missing([DIGEST]) == [DIGEST]
        await mounts.put_file(DIGEST, CODE)
        assert await mounts.missing([DIGEST]) == []
        assert await mounts.has_file(DIGEST)

    async def test_an_empty_file_is_a_file(self, mounts):
        digest = hashlib.sha256(b"").hexdigest()
        await mounts.put_file(digest, b"")
        assert await mounts.has_file(digest)

    async def test_a_file_that_changed_on_the_way_is_refused(self, mounts):
        with pytest.raises(InvalidRequest, match="change meanwhile"):
            await mounts.put_file(DIGEST, CODE + b"#")
        assert not await mounts.has_file(DIGEST)

    async def test_a_file_that_came_as_a_blob_is_the_same_file(self, mounts, blobs):
        await mounts.put_blob(DIGEST, await blobs.put(CODE))
        assert await mounts.has_file(DIGEST)

    async def test_a_blob_with_other_content_is_refused(self, mounts, blobs):
        with pytest.raises(InvalidRequest, match="digest"):
            await mounts.put_blob(DIGEST, await blobs.put(b"other"))
        with pytest.raises(NotFound):
            await mounts.put_blob(DIGEST, new_blob_id())

    @pytest.mark.parametrize("digest", ["", "..", "A" * 64, "0" * 63, "../" * 22])
    async def test_what_is_no_digest_is_refused(self, mounts, digest):
        with pytest.raises(InvalidRequest, match="SHA-256"):
            await mounts.missing([digest])
        with pytest.raises(InvalidRequest, match="SHA-256"):
            await mounts.put_file(digest, CODE)


class TestAnonymous:
    async def test_files_become_a_tree_in_order_of_path(self, mounts):
        await mounts.put_file(DIGEST, CODE)
        mount = await mounts.get_or_create(anonymous(a_file("/root/b.py", mode=0o100755), a_file("/root//a.py")))
        tree = await mounts.tree_of(mount.id)
        assert [(file.path, file.mode) for file in tree.files] == [("/root/a.py", 0o644), ("/root/b.py", 0o755)]

    async def test_equal_trees_are_one_mount(self, mounts):
        await mounts.put_file(DIGEST, CODE)
        files = [a_file("/a"), a_file("/b")]
        first = await mounts.get_or_create(anonymous(*files))
        assert await mounts.get_or_create(anonymous(*files[::-1], app_id="ap-2")) == first
        assert await mounts.get_or_create(anonymous(*files[:1])) != first

    async def test_files_that_were_not_uploaded_are_named(self, mounts):
        await mounts.put_file(DIGEST, CODE)
        with pytest.raises(NotFound, match=r"1 files .* /root/lost.py"):
            await mounts.get_or_create(anonymous(a_file(), a_file("/root/lost.py", digest="0" * 64)))

    @pytest.mark.parametrize("path", ["relative.py", "/root/../etc/passwd", "/", "/a\0b", "/" + "x" * 5000, "//..//x"])
    async def test_paths_that_leave_the_container_are_refused(self, mounts, path):
        await mounts.put_file(DIGEST, CODE)
        with pytest.raises(InvalidRequest):
            await mounts.get_or_create(anonymous(a_file(path)))

    async def test_a_mount_without_name_and_owner_is_refused(self, mounts):
        with pytest.raises(InvalidRequest):
            await mounts.get_or_create(published(Creation.IF_MISSING, name=""))


class TestPublished:
    async def test_a_published_mount_is_found_by_its_name(self, mounts):
        await mounts.put_file(DIGEST, CODE)
        made = await mounts.get_or_create(published(Creation.MUST_BE_NEW, a_file()))
        assert await mounts.get_or_create(published(Creation.LOOK_UP)) == made
        with pytest.raises(AlreadyExists):
            await mounts.get_or_create(published(Creation.MUST_BE_NEW, a_file()))
        with pytest.raises(NotFound, match="add_local_dir"):
            await mounts.get_or_create(published(Creation.LOOK_UP, name="other"))

    async def test_publishing_again_replaces(self, mounts):
        await mounts.put_file(DIGEST, CODE)
        await mounts.get_or_create(published(Creation.IF_MISSING, a_file("/old")))
        new = await mounts.get_or_create(published(Creation.IF_MISSING, a_file("/new")))
        assert await mounts.get_or_create(published(Creation.LOOK_UP)) == new

    @pytest.mark.parametrize("name", ["modal-client-mount-1.6.4", "python-build-standalone.20230826.3.11.5-gnu"])
    async def test_what_the_engine_supplies_itself_is_an_empty_mount(self, mounts, name):
        wanted = published(Creation.LOOK_UP, name=name, is_global=True)
        mount = await mounts.get_or_create(wanted)
        assert mount.tree.files == ()
        assert await mounts.get_or_create(wanted) == mount

    async def test_other_global_names_are_not_made_up(self, mounts):
        with pytest.raises(NotFound):
            await mounts.get_or_create(published(Creation.LOOK_UP, name="something", is_global=True))
        with pytest.raises(NotFound):
            await mounts.get_or_create(published(Creation.LOOK_UP, name="modal-client-mount-1.6.4"))


class TestTrees:
    def test_the_same_file_twice_is_one_file(self):
        assert len(file_tree([a_file(), a_file()]).files) == 1

    def test_two_contents_for_one_path_are_refused(self):
        with pytest.raises(InvalidRequest, match="Two different files"):
            file_tree([a_file(), a_file(digest="0" * 64)])

    def test_a_file_is_no_folder(self):
        with pytest.raises(InvalidRequest, match="'/root/a' is a file"):
            file_tree([a_file("/root/a"), a_file("/root/a/b/c")])

    @given(st.lists(st.sampled_from([a_file(f"/{name}") for name in "abcdef"]), unique=True).flatmap(st.permutations))
    def test_the_order_of_files_does_not_matter(self, files):
        assert file_tree(files) == file_tree(reversed(files))

    def test_the_id_depends_on_path_content_and_mode(self):
        files = [a_file(), a_file(path="/x"), a_file(digest="0" * 64), a_file(mode=0o755)]
        assert len({file_tree([file]).id for file in files}) == 4


@given(st.text(alphabet=st.sampled_from("/.ab\0 ~"), max_size=30).map(lambda text: "/" + text))
def test_a_checked_path_stays_below_the_root(path):
    try:
        checked = checked_container_path(path)
    except InvalidRequest:
        return
    assert checked.startswith("/")
    assert checked != "/"
    assert not {"..", ".", ""} & set(checked.split("/")[1:])
