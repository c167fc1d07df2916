"""WebSockets through a real gateway."""

import aiohttp
import anyio
import pytest
from fakes.asgi_apps import failing
from fakes.gateway import DEADLINE, a_gateway
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from freehold.domain.errors import Unavailable

LABEL = "local--chat-room"


async def echo(scope, receive, send):
    socket = WebSocket(scope, receive, send)
    await socket.accept(subprotocol=next(iter(scope["subprotocols"]), None), headers=[(b"x-room", scope["path"].encode())])
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if message["text"] == "bye":
            await socket.close(4001, "as you wish")
            return
        await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})


async def test_text_and_bytes_go_both_ways():
    async with a_gateway() as gateway:
        gateway.calls.deploy(LABEL, echo)

        async with gateway.websocket(LABEL) as socket:
            await socket.send_str("grüß Gott")
            assert await socket.receive_str() == "grüß Gott"
            await socket.send_bytes(b"\x00\xff")
            assert await socket.receive_bytes() == b"\x00\xff"


async def test_the_handshake_carries_path_subprotocol_and_headers():
    async with a_gateway() as gateway:
        gateway.calls.deploy(LABEL, echo)

        async with gateway.http.ws_connect(f"{gateway.url}/{LABEL}/blue?x=1", protocols=["v2", "v1"]) as socket:
            assert socket.protocol == "v2"
            assert socket._response.headers["X-Room"] == f"/{LABEL}/blue"

        scope = gateway.calls.calls[0].scope
        assert (scope["type"], scope["root_path"], scope["query_string"]) == ("websocket", f"/{LABEL}", b"x=1")
        assert b"sec-websocket-key" not in dict(scope["headers"])


async def test_a_large_message_arrives_whole():
    async with a_gateway() as gateway:
        gateway.calls.deploy(LABEL, echo)

        async with gateway.websocket(LABEL) as socket:
            await socket.send_bytes(bytes(3 * 1024 * 1024))
            assert len(await socket.receive_bytes()) == 3 * 1024 * 1024


async def test_the_app_closes_with_its_code_and_reason():
    async with a_gateway() as gateway:
        gateway.calls.deploy(LABEL, echo)

        async with gateway.websocket(LABEL) as socket:
            await socket.send_str("bye")
            closing = await socket.receive()

        assert (closing.type, closing.data, closing.extra) == (aiohttp.WSMsgType.CLOSE, 4001, "as you wish")
        assert not gateway.calls.calls[0].is_cancelled


async def test_the_callers_close_reaches_the_app_which_then_ends_by_itself():
    codes = []

    async def app(scope, receive, send):
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        try:
            await socket.receive_text()
        except WebSocketDisconnect as left:
            codes.append(left.code)

    async with a_gateway() as gateway:
        gateway.calls.deploy(LABEL, app)

        async with gateway.websocket(LABEL) as socket:
            await socket.close(code=4002)
        with anyio.fail_after(DEADLINE):
            await gateway.calls.calls[0].ended.wait()

        assert codes == [4002]
        assert not gateway.calls.calls[0].is_cancelled


async def test_an_app_that_just_returns_closes_normally():
    async def app(scope, receive, send):
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await socket.send_text("only this")

    async with a_gateway() as gateway:
        gateway.calls.deploy(LABEL, app)

        async with gateway.websocket(LABEL) as socket:
            assert await socket.receive_str() == "only this"
            assert (await socket.receive()).data == 1000


async def test_an_app_may_refuse_the_handshake():
    async def app(scope, receive, send):
        await WebSocket(scope, receive, send).close()

    async with a_gateway() as gateway:
        gateway.calls.deploy(LABEL, app)

        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await gateway.websocket(LABEL)

    assert refused.value.status == 403


@pytest.mark.parametrize(("deployed", "status"), [(None, 404), (failing(Unavailable("The container did not start.")), 502)])
async def test_before_the_handshake_errors_are_http_answers(deployed, status):
    async with a_gateway() as gateway:
        if deployed:
            gateway.calls.deploy(LABEL, deployed)

        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await gateway.websocket(LABEL)

    assert refused.value.status == status


async def test_after_the_handshake_a_failing_container_closes_with_the_reason():
    error = Unavailable("The container ran out of memory. " + "é" * 200)

    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        raise error

    async with a_gateway() as gateway:
        gateway.calls.deploy(LABEL, app)

        async with gateway.websocket(LABEL) as socket:
            closing = await socket.receive()

    assert closing.data == 1011
    assert closing.extra.startswith("The container ran out of memory.")


async def test_an_app_that_does_not_accept_in_time_is_a_504():
    async def app(scope, receive, send):
        await anyio.sleep_forever()

    async with a_gateway(http_request_timeout=0.2) as gateway:
        gateway.calls.deploy(LABEL, app)

        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await gateway.websocket(LABEL)

        assert refused.value.status == 504
        assert gateway.calls.calls[0].is_cancelled


class TestOwnPages:
    async def test_a_page_of_the_engine_takes_them_too(self):
        async def page(socket: WebSocket) -> None:
            await socket.accept()
            await socket.send_text(await socket.receive_text())

        async with a_gateway(routes=[WebSocketRoute("/talk", page)]) as gateway, gateway.http.ws_connect(f"{gateway.url}/talk") as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"

    async def test_those_that_do_not_refuse(self):
        async with a_gateway() as gateway:
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await gateway.http.ws_connect(f"{gateway.url}/healthz")

    async def test_other_peoples_names_lead_to_none(self):
        async with a_gateway() as gateway:
            with pytest.raises(aiohttp.WSServerHandshakeError, match="404"):
                await gateway.http.ws_connect(f"{gateway.url}/healthz", headers={"Host": "evil.example", "X-Forwarded-For": "192.0.2.7"})
