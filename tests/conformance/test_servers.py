"""Servers of `@app.server`: the gateway is a reverse proxy to what their classes start."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import aiohttp
import modal
import pytest

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.sites import browser
from conformance.waiting import eventually


@pytest.fixture(scope="module", params=["auto", "stock"])
def app(engine: Engine, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """A server has one way to be reached, whatever the way for inputs."""
    with engine.restarted(container_transport=request.param), deployed(engine, "servers.py") as app:
        yield app


@pytest.fixture
async def site() -> AsyncIterator[aiohttp.ClientSession]:
    async with browser() as session:
        yield session


async def url_of(app: Deployment, name: str) -> str:
    url = await modal.Server.from_name(app.name, name).get_url.aio()
    assert url
    return url


async def test_a_server_answers_at_its_address(app: Deployment, site: aiohttp.ClientSession) -> None:
    async with site.get(await url_of(app, "Site") + "/a/path?x=1") as response:
        seen = await response.json(content_type=None)

    assert seen["path"] == "/a/path?x=1"
    assert seen["forwarded_for"] == "127.0.0.1"


async def test_one_that_is_not_unauthenticated_asks_for_a_token(app: Deployment, site: aiohttp.ClientSession) -> None:
    async with site.get(await url_of(app, "Closed")) as response:
        assert response.status == 401


async def test_requests_of_one_session_go_to_one_container(app: Deployment, site: aiohttp.ClientSession) -> None:
    url = await url_of(app, "Two")
    server = modal.Server.from_name(app.name, "Two")
    await asyncio.to_thread(eventually, lambda: len(server._experimental_list_containers()) == 2, within=60, what="two containers")

    async def container(session: str) -> str:
        async with site.get(url, headers={"Modal-Session-ID": session}) as response:
            return str((await response.json(content_type=None))["task"])

    assert len({await container("a") for _ in range(10)}) == 1


async def test_its_containers_and_where_they_listen_are_known(app: Deployment, site: aiohttp.ClientSession) -> None:
    async with site.get(await url_of(app, "Two")) as response:
        task_id = (await response.json(content_type=None))["task"]

    listed = {each.container_id: each for each in await modal.Server.from_name(app.name, "Two")._experimental_list_containers.aio()}
    assert listed[task_id].port == 8000
    assert listed[task_id].host


async def test_a_server_that_leaves_runs_its_exit_hooks(app: Deployment, site: aiohttp.ClientSession) -> None:
    async with site.get(await url_of(app, "Site")) as response:
        assert response.status == 200

    told = "the exit hook has run"
    await asyncio.to_thread(eventually, lambda: told in app.logs(), within=60, what=told)


async def test_one_that_does_not_listen_in_time_says_so(app: Deployment, site: aiohttp.ClientSession) -> None:
    async with site.get(await url_of(app, "Deaf")) as response:
        assert response.status in {502, 503, 504}
        assert response.headers["content-type"].startswith("application/json")
