"""The gateway and the server that runs in containers, as they meet: what one tells, the other understands."""

import json

import pytest
from fakes.asgi_apps import body, echo, start
from fakes.gateway import a_gateway
from fakes.lanes import FakeLanes

from freehold.container.serving import Server, Site
from freehold.domain.functions import WebKind, WebRoute, WebTarget
from freehold.domain.ids import new_app_id, new_function_id

LABEL = "local--iris-predict"


async def test_prefix_caller_and_ids_arrive_in_the_scope(tmp_path):
    ids = []
    server = Server({"": Site(echo, {})}, lambda *both: ids.append(both))
    await server.start(str(tmp_path / "http.sock"))
    lanes = FakeLanes()
    async with a_gateway(lanes=lanes) as gateway:
        lanes.deploy(LABEL, str(tmp_path / "http.sock"))
        told = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
        async with gateway.http.post(f"{gateway.url}/{LABEL}/a%20b?x=1", data=b"hello", headers=told) as response:
            seen = await response.json()
            call_id = response.headers["Modal-Function-Call-Id"]
        await server.leave()

    assert (seen["path"], seen["root_path"], seen["query"]) == (f"/{LABEL}/a b", f"/{LABEL}", "x=1")
    assert (seen["client"][0], seen["scheme"], seen["body"]) == ("192.0.2.7", "https", "hello")
    assert ids == [(f"in{call_id[2:]}", call_id)]
    assert not [name for name, _ in seen["headers"] if name.startswith("x-freehold-")]


@pytest.mark.parametrize("method", ["greet", "part"])
async def test_a_method_of_a_class_is_the_one_that_the_address_means(tmp_path, method):
    def saying(name: str):
        async def app(scope, receive, send):
            await start(send)
            await body(send, json.dumps(name).encode(), more=False)

        return app

    server = Server({name: Site(saying(name), {}) for name in ("greet", "part")}, lambda *_: None)
    await server.start(str(tmp_path / "http.sock"))
    lanes = FakeLanes()
    async with a_gateway(lanes=lanes) as gateway:
        lanes.open(str(tmp_path / "http.sock"))
        target = WebTarget(function_id=new_function_id(), app_id=new_app_id(), name=method, kind=WebKind.FUNCTION, method_name=method)
        lanes.routes[LABEL] = WebRoute(target=target)
        async with gateway.request(LABEL, headers={"X-Freehold-Method": "forged"}) as response:
            assert await response.json(content_type=None) == method
        await server.leave()
