"""Links to blocks of files in volumes."""

import os

import aiohttp
import pytest
from fakes.gateway import a_gateway

from freehold.domain.errors import Conflict, Unauthenticated
from freehold.gateway.volumes import VolumeRoutes

CONTENT = os.urandom(3 * 1024 * 1024)


class FakeVolumeFiles:
    """One file of two blocks; the token says what becomes of a link."""

    def __init__(self, path):
        self.path = path
        self.opened = []

    async def open_block(self, token, index):
        if token == "forged":
            msg = "This link is not one of ours."
            raise Unauthenticated(msg)
        if token == "replaced":
            msg = "The file was replaced."
            raise Conflict(msg)
        self.opened.append(os.fdopen(os.open(self.path, os.O_RDONLY), "rb", buffering=0))
        half = len(CONTENT) // 2
        return self.opened[-1], index * half, half


@pytest.fixture
def files(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return FakeVolumeFiles(path)


async def get(gateway, rest):
    async with gateway.http.get(f"{gateway.url}/_freehold/volumes/{rest}") as response:
        return response.status, await response.read()


async def test_blocks_come_as_they_are_in_the_file(files):
    async with a_gateway(routes=VolumeRoutes(files).routes) as gateway:
        answers = [await get(gateway, f"token/{index}") for index in (0, 1)]

    assert answers == [(200, CONTENT[: len(CONTENT) // 2]), (200, CONTENT[len(CONTENT) // 2 :])]
    assert all(file.closed for file in files.opened)


async def test_a_file_that_ends_too_early_is_never_taken_for_whole(files):
    files.path.write_bytes(CONTENT[:100])
    async with a_gateway(routes=VolumeRoutes(files).routes) as gateway:
        with pytest.raises(aiohttp.ClientError):
            await get(gateway, "token/0")


@pytest.mark.parametrize(("rest", "status"), [("forged/0", 403), ("replaced/0", 409), ("token/x", 404), ("token", 404)])
async def test_links_that_lead_nowhere_are_refused(files, rest, status):
    async with a_gateway(routes=VolumeRoutes(files).routes) as gateway:
        assert (await get(gateway, rest))[0] == status
