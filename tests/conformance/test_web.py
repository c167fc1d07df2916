"""Web endpoints through the gateway, at the addresses that `modal deploy` prints."""

import asyncio
import io
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.request import urlopen

import aiohttp
import pytest

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.sites import browser
from conformance.waiting import eventually


@pytest.fixture(scope="module", params=["auto", "data_channel"])
def app(engine: Engine, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    with engine.restarted(web_path=request.param), deployed(engine, "web.py") as app:
        yield app


@pytest.fixture
def is_direct(request: pytest.FixtureRequest) -> bool:
    return "auto" in request.node.callspec.params.values()


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
        url = await app.url("asgi")
        async with site.get(url + "/drip") as response:
            for number in range(3):
                assert await response.content.readline() == b"drop %d\n" % number
                async with site.get(url + "/on"):  # the app waits for it after each line
                    pass
            assert await response.content.read() == b"dry"

    async def test_a_request_is_streamed_while_its_answer_comes_back(self, app: Deployment, site) -> None:
        answered = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"first piece"
            await asyncio.wait_for(answered.wait(), 60)
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
            assert await socket.receive_str(timeout=60) == "hello"
            await socket.send_bytes(b"\x00\xff")
            assert await socket.receive_bytes(timeout=60) == b"\x00\xff"

            await socket.send_str("close")
            assert (await socket.receive(timeout=60)).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 4001


class TestPaths:
    async def test_the_engine_says_which_containers_serve_by_themselves(self, app: Deployment, site, is_direct: bool) -> None:
        async with site.get(await app.url("tell") + "/ids") as response:
            assert response.status == 200

        serving = status(app)["tasks_serving_http"]
        assert serving >= 1 if is_direct else serving == 0

    async def test_one_that_cannot_says_why(self, app: Deployment, site, is_direct: bool) -> None:
        async with site.get(await app.cls("Mixed")().page.get_web_url.aio()) as response:
            task_id = await response.json()
        assert await app.cls("Mixed")().work.remote.aio(3) == 9

        if is_direct:
            assert status(app)["tasks_with_web_fallback"] >= 1
            told = await asyncio.to_thread(app.engine.story, task_id)
            assert "its class mixes web and other methods" in str(told["events"])

    async def test_a_request_knows_its_ids_and_its_lines_are_found_by_them(self, app: Deployment, site) -> None:
        async with site.get(await app.url("tell") + "/ids") as response:
            seen = json.loads(await response.text())

        assert seen["input"].startswith("in-")
        assert seen["call"].startswith("fc-")
        told = f"input {seen['input']} says so"
        await logged(app, told)

    async def test_the_state_of_the_lifespan_reaches_requests(self, app: Deployment, site) -> None:
        async with site.get(await app.url("tell") + "/state") as response:
            assert await response.text() == "started"

    async def test_methods_of_one_class_are_told_apart(self, app: Deployment, site) -> None:
        for name, wanted in (("first", "the first of 2"), ("second", "the second of 2")):
            async with site.get(await getattr(app.cls("Pair")(), name).get_web_url.aio()) as response:
                assert await response.json() == wanted

    async def test_server_sent_events_come_one_by_one(self, app: Deployment, site) -> None:
        url = await app.url("tell")
        async with site.get(url + "/events") as response:
            assert response.content_type == "text/event-stream"
            for number in range(3):
                assert await response.content.readuntil(b"\n\n") == b"data: %d\n\n" % number
                async with site.get(url + "/on"):  # the app waits for it after each
                    pass
            assert await response.content.read() == b""

    async def test_a_caller_that_leaves_cancels_its_request(self, app: Deployment, site) -> None:
        async def ask() -> None:
            async with site.get(f"{url}/forever/{caller}"):
                pass

        url, caller = await app.url("tell"), uuid.uuid4().hex
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(ask())
            await logged(app, f"{caller} waits")
            asking.cancel()
        await logged(app, f"{caller} was cancelled")

    async def test_a_container_that_leaves_ends_its_lifespan_and_runs_its_exit_hooks(self, app: Deployment, site) -> None:
        async with site.get(await app.cls("Leaving")().site.get_web_url.aio()) as response:
            assert await response.text() == "soon"

        for told in ("the lifespan has ended", "the exit hook has run"):
            await logged(app, told)

    async def test_a_server_of_the_users_own_is_served(self, app: Deployment, site) -> None:
        async with site.post(await app.url("own_server") + "/some/path?x=1", data=b"a body") as response:
            seen = await response.json(content_type=None)

        assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/some/path?x=1", "a body")


async def test_a_wsgi_app_is_served(app: Deployment, site) -> None:
    async with site.post(await app.url("wsgi") + "/a/path", data=b"a body") as response:
        assert response.status == 201
        assert await response.text() == "POST /a/path a body"


async def logged(app: Deployment, told: str) -> None:
    await asyncio.to_thread(eventually, lambda: told in app.logs(), within=60, what=told)


def status(app: Deployment) -> dict[str, Any]:
    with urlopen(f"{app.engine.gateway_url}/healthz", timeout=60) as answer:
        return dict(json.load(answer))


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
