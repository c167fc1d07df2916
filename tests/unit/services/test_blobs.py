"""Blobs: links out, content in, and a record of what is used."""

import base64
import hashlib
from urllib.parse import urlsplit

import pytest

from freehold.config import Settings
from freehold.control.controllers.retention import Retention
from freehold.control.services.blobs import Blobs
from freehold.domain.blobs import blob_id_of, digest_of, mentioned_blob_ids
from freehold.domain.calls import CallKind, FunctionCall, Invocation, StoredInput
from freehold.domain.clock import SystemClock
from freehold.domain.errors import Conflict, InvalidRequest, NotFound, Unauthenticated
from freehold.domain.files import Mount, TreeFile, file_tree
from freehold.domain.ids import new_blob_id, new_call_id, new_input_id, new_mount_id
from freehold.domain.retention import LEAST_AGE
from freehold.store.keyring import Keyring
from freehold.store.memory.store import MemoryStore

DATA = b"result" * 1000
SHA256 = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
MD5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()
DIGEST = hashlib.sha256(DATA).hexdigest()


class MovableClock(SystemClock):
    def __init__(self):
        self.ahead = LEAST_AGE * 0

    def now(self):
        return super().now() + self.ahead


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def clock():
    return MovableClock()


@pytest.fixture
def blobs(store, content, tmp_path, clock):
    settings = Settings(gateway_port=9999, max_blob_bytes=2**20)
    return Blobs(store=store, content=content, keyring=Keyring.open(tmp_path), clock=clock, settings=settings)


def token_of(url):
    return urlsplit(url).path.rpartition("/")[2]


async def chunks_of(data):
    yield data[:10]
    yield data[10:]


async def uploaded(blobs, **digests):
    upload = blobs.create(size=len(DATA), **{"sha256": SHA256, "md5": MD5} | digests)
    etag = await blobs.receive(token_of(upload.url), chunks_of(DATA), None)
    assert etag == hashlib.md5(DATA).hexdigest()
    return upload


class TestLinks:
    async def test_what_was_sent_can_be_fetched(self, blobs):
        upload = await uploaded(blobs)
        assert upload.blob_id == f"bl-{DIGEST}"
        url = await blobs.download_url(upload.blob_id)
        assert url.startswith("http://127.0.0.1:9999/_freehold/blobs/")
        assert (await blobs.open_for_read(token_of(url))).read_bytes() == DATA
        assert await blobs.read(upload.blob_id) == DATA

    async def test_old_clients_that_send_no_sha256_get_an_alias(self, blobs):
        upload = await uploaded(blobs, sha256="")
        assert digest_of(upload.blob_id) is None
        assert await blobs.read(upload.blob_id) == DATA
        assert await blobs.holds(upload.blob_id, DIGEST)

    async def test_what_was_read_under_an_alias_stays_what_it_is(self, blobs):
        upload = await uploaded(blobs, sha256="", md5="")
        await blobs.receive(token_of(upload.url), chunks_of(DATA), None)  # a client that did not hear the answer

        with pytest.raises(Conflict, match="Ask for a new one"):
            await blobs.receive(token_of(upload.url), chunks_of(DATA[::-1]), None)

        assert await blobs.read(upload.blob_id) == DATA

    async def test_a_link_for_sending_does_not_fetch_and_the_other_way_round(self, blobs):
        upload = await uploaded(blobs)
        with pytest.raises(Unauthenticated):
            await blobs.open_for_read(token_of(upload.url))
        with pytest.raises(Unauthenticated):
            await blobs.receive(token_of(await blobs.download_url(upload.blob_id)), chunks_of(DATA), None)
        with pytest.raises(Unauthenticated):
            await blobs.open_for_read("rubbish")

    async def test_other_content_than_announced_is_refused(self, blobs):
        upload = blobs.create(size=len(DATA), sha256=SHA256, md5=MD5)
        with pytest.raises(InvalidRequest, match="Content-MD5 you specified did not match"):
            await blobs.receive(token_of(upload.url), chunks_of(DATA[::-1]), None)
        with pytest.raises(InvalidRequest, match="Content-MD5 you specified did not match"):
            await blobs.receive(token_of(upload.url), chunks_of(DATA), base64.b64encode(b"0" * 16).decode())
        with pytest.raises(NotFound):
            await blobs.read(upload.blob_id)

    async def test_an_alias_checks_the_md5_that_was_announced(self, blobs):
        upload = blobs.create(size=len(DATA), sha256="", md5=MD5)
        with pytest.raises(InvalidRequest, match="Content-MD5"):
            await blobs.receive(token_of(upload.url), chunks_of(DATA[::-1]), None)

    @pytest.mark.parametrize("size", [-1, 2**20 + 1])
    def test_a_blob_that_is_too_large_is_refused_before_it_is_sent(self, blobs, size):
        with pytest.raises(InvalidRequest, match="max_blob_bytes"):
            blobs.create(size=size, sha256=SHA256, md5=MD5)

    @pytest.mark.parametrize("text", ["rubbish!", "AAAA", SHA256[:-4]])
    def test_a_digest_that_is_none_is_refused(self, blobs, text):
        with pytest.raises(InvalidRequest, match="base64"):
            blobs.create(size=1, sha256=text, md5="")

    @pytest.mark.parametrize("blob_id", ["bl-" + "0" * 64, new_blob_id(), "rubbish", "bl-../../etc/passwd", ""])
    async def test_a_blob_that_is_not_here_is_a_clear_error(self, blobs, blob_id):
        with pytest.raises(NotFound):
            await blobs.download_url(blob_id)
        with pytest.raises(NotFound):
            await blobs.read(blob_id)


class TestRecord:
    async def test_sizes_are_written_in_groups(self, blobs, store):
        await blobs.put(b"a")
        await blobs.put(b"bb")
        assert await total(store) == 0
        await blobs.flush()
        assert await total(store) == 3

    async def test_what_a_killed_engine_did_not_record_is_adopted(self, blobs, content, store):
        await content.put_bytes(b"four")
        await blobs.adopt()
        await blobs.adopt()
        assert await total(store) == 4

    def test_mentions_are_found_in_any_bytes(self):
        alias, other = new_blob_id(), blob_id_of(DIGEST)
        assert mentioned_blob_ids(b"\x12\x19" + alias.encode() + b"\x00\xff" + other.encode() + b"\x01") == {alias, other}


class TestRetention:
    async def test_the_oldest_blobs_go_until_the_rest_fits(self, blobs, store, content, clock):
        await put_in_order(blobs, clock, b"a" * 100, b"b" * 100, b"c" * 100)
        await retention(store, blobs, 250).step(clock.now())
        assert sizes(await content.inventory()) == {digest(b"b" * 100), digest(b"c" * 100)}
        assert await total(store) == 200

    async def test_what_was_used_within_the_hour_stays(self, blobs, store, content, clock):
        old = await blobs.put(b"a" * 100)
        await blobs.put(b"b" * 100)
        await blobs.flush()
        clock.ahead += 2 * LEAST_AGE
        await blobs.read(old)
        await retention(store, blobs, 0).step(clock.now())
        assert sizes(await content.inventory()) == {digest(b"a" * 100)}

    async def test_what_is_used_between_choice_and_deletion_stays(self, blobs, content):
        chosen = await blobs.put(b"a")
        await blobs.flush()
        await blobs.read(chosen)
        await blobs.delete([chosen])
        assert content.has(digest(b"a"))

    async def test_what_mounts_inputs_and_results_need_stays(self, blobs, store, content, clock):
        await put_in_order(blobs, clock, b"file", b"argument", b"result", b"nothing")
        upload = await uploaded(blobs, sha256="")
        await blobs.flush()
        clock.ahead += 2 * LEAST_AGE
        tree = file_tree([TreeFile(path="/f", digest=digest(b"file"))])
        call = FunctionCall(
            id=new_call_id(),
            function_id="fu-1",
            app_id="ap-1",
            kind=CallKind.UNARY,
            invocation=Invocation.ASYNC,
            created_at=clock.now(),
        )
        item = StoredInput(
            id=new_input_id(),
            call_id=call.id,
            idx=0,
            payload=b"\x0a" + blob_id_of(digest(b"argument")).encode() + upload.blob_id.encode(),
            created_at=clock.now(),
            result=b"\x0a" + blob_id_of(digest(b"result")).encode(),
            finished_at=clock.now(),
        )
        async with store.transaction() as tx:
            await tx.mounts.put(Mount(id=new_mount_id(), tree=tree, created_at=clock.now()))
            await tx.calls.write(calls=[call])
            await tx.calls.write(inputs=[item])
        await retention(store, blobs, 0).step(clock.now())
        assert sizes(await content.inventory()) == {digest(b"file"), digest(b"argument"), digest(b"result"), DIGEST}
        clock.ahead += 2 * Settings().result_ttl
        await retention(store, blobs, 0).step(clock.now())
        assert sizes(await content.inventory()) == {digest(b"file")}


async def put_in_order(blobs, clock, *contents):
    for data in contents:
        await blobs.put(data)
        await blobs.flush()
        clock.ahead += 2 * LEAST_AGE


def retention(store, blobs, limit):
    settings = Settings().model_copy(update={"blob_cache_bytes": limit})
    return Retention(store=store, blobs=blobs, logs=NoLogs(), volumes=NoVolumes(), settings=settings)


class NoLogs:
    async def prune(self, now, **bounds):
        return 0


class NoVolumes:
    async def expire(self):
        pass


async def total(store):
    async with store.transaction() as tx:
        return await tx.blobs.total_bytes()


def sizes(inventory):
    return {name for name, _, _ in inventory}


def digest(data):
    return hashlib.sha256(data).hexdigest()
