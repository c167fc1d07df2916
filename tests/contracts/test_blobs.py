"""What every content store must do: a name that is a digest stands for that content, whole, or for nothing."""

import asyncio
import hashlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.domain.errors import InvalidRequest, NotFound
from freehold.store.blobs.folder import FolderBlobs

DATA = bytes(range(256)) * 20_000  # some 5 MB: several pieces
DIGEST = hashlib.sha256(DATA).hexdigest()
MD5 = hashlib.md5(DATA).hexdigest()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "blobs"


@pytest.fixture
async def blobs(folder):
    blobs = FolderBlobs(folder)
    await blobs.open()
    return blobs


async def chunks_of(data, size=64 * 1024):
    for start in range(0, len(data), size):
        yield data[start : start + size]


def files_in(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def test_bytes_are_found_by_the_digest_of_their_content(blobs):
    digest = await blobs.put_bytes(b"hello")
    assert digest == hashlib.sha256(b"hello").hexdigest()
    assert blobs.has(digest)
    assert blobs.path_of(digest).read_bytes() == b"hello"


async def test_the_same_bytes_are_kept_once(blobs, folder):
    await blobs.put_bytes(b"hello")
    await blobs.put_bytes(b"hello")
    assert len(files_in(folder)) == 1


@pytest.mark.parametrize("data", [b"", b"x", DATA])
async def test_a_stream_is_stored_under_its_digest(blobs, data):
    content = await blobs.write(chunks_of(data), digest=hashlib.sha256(data).hexdigest(), size=len(data))
    assert (content.size, content.md5) == (len(data), hashlib.md5(data).hexdigest())
    assert blobs.path_of(content.digest).read_bytes() == data


async def test_a_stream_of_unknown_digest_tells_it_afterwards(blobs):
    content = await blobs.write(chunks_of(DATA), digest=None, size=len(DATA), md5=MD5)
    assert content.digest == DIGEST
    assert blobs.has(DIGEST)


@pytest.mark.parametrize(
    "expected",
    [
        {"digest": DIGEST, "size": len(DATA) - 1},
        {"digest": DIGEST, "size": len(DATA) + 1},
        {"digest": "0" * 64, "size": len(DATA)},
        {"digest": DIGEST, "size": len(DATA), "md5": "0" * 32},
        {"digest": None, "size": len(DATA), "md5": "0" * 32},
    ],
)
async def test_a_stream_that_is_not_what_was_announced_leaves_nothing(blobs, folder, expected):
    with pytest.raises(InvalidRequest):
        await blobs.write(chunks_of(DATA), **expected)
    assert files_in(folder) == []


async def test_a_stream_that_breaks_leaves_nothing(blobs, folder):
    async def broken():
        yield DATA
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await blobs.write(broken(), digest=DIGEST, size=2 * len(DATA))
    assert files_in(folder) == []


async def test_a_cancelled_write_leaves_nothing(blobs, folder):
    reached = asyncio.Event()

    async def endless():
        yield DATA
        reached.set()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(blobs.write(endless(), digest=DIGEST, size=2 * len(DATA)))
        await reached.wait()
        writing.cancel()
    assert files_in(folder) == []


async def test_many_writers_of_the_same_content_all_succeed(blobs, folder):
    async with asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(blobs.write(chunks_of(DATA), digest=DIGEST, size=len(DATA)))
    assert len(files_in(folder)) == 1


async def test_what_is_not_there_is_named(blobs):
    assert not blobs.has(DIGEST)
    with pytest.raises(NotFound, match=DIGEST):
        blobs.path_of(DIGEST)


async def test_the_missing_ones_of_many_are_told(blobs):
    there = await blobs.put_bytes(b"there")
    assert await blobs.missing(["0" * 64, there, "1" * 64]) == ["0" * 64, "1" * 64]


async def test_deleting_twice_is_fine(blobs):
    digest = await blobs.put_bytes(b"hello")
    await blobs.delete(digest)
    await blobs.delete(digest)
    assert not blobs.has(digest)


async def test_the_inventory_lists_everything_with_its_size(blobs):
    digests = {await blobs.put_bytes(data): len(data) for data in (b"a", b"bb", b"ccc")}
    assert {digest: size for digest, size, _ in await blobs.inventory()} == digests


async def test_opening_removes_what_a_killed_engine_left_half_written(blobs, folder):
    (folder / "incoming" / "half").write_bytes(b"half")
    digest = await blobs.put_bytes(b"whole")
    await FolderBlobs(folder).open()
    assert files_in(folder) == [blobs.path_of(digest)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(name=st.text(max_size=80) | st.sampled_from(["../" * 3, "..", "/etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"]))
def test_a_name_that_is_no_digest_never_becomes_a_path(tmp_path, name):
    with pytest.raises(InvalidRequest):
        FolderBlobs(tmp_path).path_of(name)
