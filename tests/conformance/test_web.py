"""Web endpoints through the gateway, at the addresses that `modal deploy` prints."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.sites import browser


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "web.py") as app:
        yield app


@pytest.fixture
async def site() -> AsyncIterator[aiohttp.ClientSession]:
    async with browser() as session:
        yield session


class TestEndpoints:
    async def test_an_endpoint_works_without_fastapi_in_the_image(self, app: Deployment, site) -> None:
        async with site.get(await app.url("hello"), params={"name": "Ada"}) as response:
            assert await response.json() == {"hello": "Ada"}

    async def test_its_address_is_made_of_names(self, app: Deployment) -> None:
        assert await app.url("hello") == f"http://local--web-hello.localhost:{app.engine.gateway_port}"
        assert await app.url("hello") in app.output, "modal deploy prints it"

    async def test_it_takes_json(self, app: Deployment, site) -> None:
        async with site.post(await app.url("predict"), json={"features": [1, 2, 3.5]}) as response:
            assert await response.json() == {"sum": 6.5}

    async def test_its_own_name_as_a_path_is_the_same(self, app: Deployment, site) -> None:
        async with site.post(await app.url("predict") + "/predict", json={"features": [1, 2]}) as response:
            assert await response.json() == {"sum": 3}

    async def test_wrong_input_is_the_callers_fault(self, app: Deployment, site) -> None:
        async with site.post(await app.url("predict"), data=b"no json") as response:
            assert response.status == 422
        async with site.get(await app.url("predict")) as response:
            assert response.status == 405

    async def test_a_label_is_the_address(self, app: Deployment, site) -> None:
        assert "my-own-label" in await app.url("labelled")
        async with site.get(f"http://local--my-own-label.localhost:{app.engine.gateway_port}/") as response:
            assert await response.json() == "found by its label"

    async def test_a_method_of_a_class_is_an_endpoint(self, app: Deployment, site) -> None:
        url = await app.cls("Greeter")().greet.get_web_url.aio()

        async with site.get(url, params={"name": "Bob"}) as response:
            assert await response.json() == "good day, Bob"

    async def test_an_error_in_the_code_is_a_500(self, app: Deployment, site) -> None:
        async with site.get(await app.url("broken_code")) as response:
            assert response.status == 500

    async def test_many_requests_at_once_are_all_answered(self, app: Deployment, site) -> None:
        async def status(number: int) -> int:
            async with site.get(await app.url("asgi") + "/scope", params={"n": str(number)}) as response:
                assert (await response.json(content_type=None))["query"] == f"n={number}"
                return response.status

        async with asyncio.TaskGroup() as group:
            requests = [group.create_task(status(number)) for number in range(40)]

        assert {request.result() for request in requests} == {200}


class TestAsgi:
    async def test_the_request_arrives_as_it_was_sent(self, app: Deployment, site) -> None:
        async with site.put(await app.url("asgi") + "/scope?a=1&b=%20x", headers={"X-Mine": "kept"}) as response:
            seen = await response.json(content_type=None)

        assert (seen["method"], seen["path"], seen["query"]) == ("PUT", "/scope", "a=1&b=%20x")
        assert seen["headers"]["x-mine"] == "kept"
        assert seen["headers"]["host"] == f"local--web-asgi.localhost:{app.engine.gateway_port}"

    async def test_status_and_repeated_headers_come_back(self, app: Deployment, site) -> None:
        async with site.get(await app.url("asgi") + "/nowhere") as response:
            assert response.status == 404
            assert response.headers.getall("x-two") == ["one", "two"]
            assert await response.text() == "the app itself knows no such page"

    async def test_a_response_is_streamed(self, app: Deployment, site) -> None:
        async with site.get(await app.url("asgi") + "/drip") as response:
            delays = [time.time() - float(line.split()[-1]) async for line in response.content if line.startswith(b"drop")]

        assert len(delays) == 3
        assert max(delays) < 0.8, "the app waits 1 s after each line"

    async def test_a_request_is_streamed_while_its_answer_comes_back(self, app: Deployment, site) -> None:
        answered = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"first piece"
            await asyncio.wait_for(answered.wait(), 20)
            yield b", second piece"

        async with site.post(await app.url("asgi") + "/echo", data=body()) as response:
            first = await response.content.readany()
            answered.set()
            rest = await response.content.read()

        assert (first, rest) == (b"first piece", b", second piece")

    async def test_a_large_body_passes_both_ways(self, app: Deployment, site) -> None:
        data = b"0123456789abcdef" * (6 * 1024 * 1024 // 16)

        async with site.post(await app.url("asgi") + "/echo", data=io.BytesIO(data)) as response:
            assert await response.read() == data

    async def test_a_websocket_carries_text_and_bytes_and_its_close(self, app: Deployment, site) -> None:
        async with site.ws_connect(await app.url("asgi") + "/socket") as socket:
            await socket.send_str("hello")
            assert await socket.receive_str(timeout=20) == "hello"
            await socket.send_bytes(b"\x00\xff")
            assert await socket.receive_bytes(timeout=20) == b"\x00\xff"

            await socket.send_str("close")
            assert (await socket.receive(timeout=20)).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 4001


async def test_a_wsgi_app_is_served(app: Deployment, site) -> None:
    async with site.post(await app.url("wsgi") + "/a/path", data=b"a body") as response:
        assert response.status == 201
        assert await response.text() == "POST /a/path a body"


class TestAddresses:
    async def test_the_path_form_needs_no_name_to_be_resolved(self, app: Deployment, site) -> None:
        async with site.get(f"{app.engine.gateway_url}/local--web-hello/", params={"name": "Eve"}) as response:
            assert await response.json() == {"hello": "Eve"}

    async def test_the_path_form_keeps_the_rest_of_the_path(self, app: Deployment, site) -> None:
        async with site.get(f"{app.engine.gateway_url}/local--web-asgi/scope?x=1") as response:
            assert (await response.json(content_type=None))["query"] == "x=1"

    async def test_an_app_that_is_not_there_is_a_clear_404(self, app: Deployment, site) -> None:
        async with site.get(f"http://local--nothing-here.localhost:{app.engine.gateway_port}/") as response:
            assert response.status == 404
            assert "nothing-here" in await response.text()

    async def test_a_container_that_cannot_start_is_a_502_that_says_where_its_log_is(self, app: Deployment, site) -> None:
        async with site.get(await app.url("cannot_start")) as response:
            assert response.status == 502
            assert "modal app logs" in await response.text()
