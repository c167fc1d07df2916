"""Blob links, used by plain HTTP and by the client's own upload and download code."""

import asyncio
import hashlib
import os
import sys
from io import BytesIO

import anyio
import pytest
from fakes.gateway import DEADLINE, FakeBlobs, a_gateway

CONTENT = os.urandom(5 * 1024 * 1024)


@pytest.fixture
def blobs(tmp_path):
    return FakeBlobs(tmp_path)


def stored(blobs: FakeBlobs, content: bytes = b"0123456789") -> FakeBlobs:
    (blobs.folder / "token").write_bytes(content)
    return blobs


# In a process of its own: the client keeps one HTTP session per process, for the event loop that it was first used in.
CLIENT = """
import asyncio, base64, hashlib, io, sys
from modal._utils.blob_utils import ClientSessionRegistry, _download_from_url, _upload_to_s3_url
from modal._utils.bytes_io_segment_payload import BytesIOSegmentPayload

async def there_and_back(url, content):
    payload = BytesIOSegmentPayload(io.BytesIO(content), segment_start=0, segment_length=len(content))
    md5 = await _upload_to_s3_url(url, payload, content_md5_b64=base64.b64encode(hashlib.md5(content).digest()).decode())
    assert await _download_from_url(url) == content
    await ClientSessionRegistry.close_session()
    return md5

print(asyncio.run(there_and_back(sys.argv[1], sys.stdin.buffer.read())))
"""


class TestClient:
    async def test_the_clients_upload_and_download_agree_with_ours(self, blobs):
        async with a_gateway(blobs=blobs) as gateway:
            url = f"{gateway.url}/_freehold/blobs/token"
            with anyio.fail_after(30):
                done = await anyio.run_process([sys.executable, "-c", CLIENT, url], input=CONTENT, check=False)

        assert done.stdout.decode().strip() == hashlib.md5(CONTENT).hexdigest(), done.stderr.decode()
        assert max(blobs.chunk_sizes) <= 1024 * 1024

    async def test_a_file_that_changed_under_way_is_reported_in_the_words_that_the_client_looks_for(self, blobs):
        async with a_gateway(blobs=blobs) as gateway:
            url, headers = f"{gateway.url}/_freehold/blobs/token", {"Content-MD5": "b2xk"}
            async with gateway.http.put(url, data=b"new", headers=headers) as response:
                assert response.status == 400
                assert "The Content-MD5 you specified did not match what we received." in await response.text()


class TestDownload:
    @pytest.mark.parametrize(
        ("asked", "status", "content"),
        [
            (None, 200, b"0123456789"),
            ("bytes=2-4", 206, b"234"),
            ("bytes=7-", 206, b"789"),
            ("bytes=-2", 206, b"89"),
            ("bytes=20-30", 416, b""),
        ],
    )
    async def test_a_range_is_served_alone(self, blobs, asked, status, content):
        async with a_gateway(blobs=stored(blobs)) as gateway:
            headers = {"Range": asked} if asked else {}
            async with gateway.http.get(f"{gateway.url}/_freehold/blobs/token", headers=headers) as response:
                assert (response.status, await response.read()) == (status, content)

    async def test_head_tells_the_length(self, blobs):
        async with a_gateway(blobs=stored(blobs)) as gateway, gateway.http.head(f"{gateway.url}/_freehold/blobs/token") as response:
            assert (response.headers["Content-Length"], response.headers["Accept-Ranges"]) == ("10", "bytes")


class TestRefusals:
    async def test_an_upload_that_breaks_off_is_not_taken_for_a_whole_blob(self, blobs):
        async with a_gateway(blobs=blobs) as gateway:
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(b"PUT /_freehold/blobs/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n012")
            await writer.drain()
            writer.close()

            with anyio.fail_after(DEADLINE):
                await blobs.interrupted.wait()
        assert not (blobs.folder / "token").exists()

    @pytest.mark.parametrize("method", ["GET", "PUT"])
    async def test_a_forged_link_is_forbidden(self, blobs, method):
        async with a_gateway(blobs=blobs) as gateway:
            response = await gateway.http.request(method, f"{gateway.url}/_freehold/blobs/forged", data=BytesIO(CONTENT))

            assert response.status == 403
            assert "expired" in (await response.json())["detail"]

    async def test_a_blob_that_is_gone_is_not_found(self, blobs):
        async with a_gateway(blobs=blobs) as gateway, gateway.http.get(f"{gateway.url}/_freehold/blobs/token") as response:
            assert response.status == 404
            assert "gone" in (await response.json())["detail"]

    async def test_other_methods_are_not_allowed(self, blobs):
        async with a_gateway(blobs=blobs) as gateway, gateway.http.delete(f"{gateway.url}/_freehold/blobs/token") as response:
            assert response.status == 405
