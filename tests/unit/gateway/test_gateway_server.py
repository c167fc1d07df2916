"""The gateway as a component of a larger process, and what its bare host says."""

import asyncio
import math
import signal
import socket

import aiohttp
import anyio
import pytest
from fakes.asgi_apps import Stepwise, silent
from fakes.gateway import DEADLINE, STATUS, FakeBlobs, FakeTraces, a_gateway
from fakes.lanes import FakeProxyTokens, StockLanes
from fakes.web import FakeWebCalls
from ports import free_port

from freehold.config import Settings
from freehold.domain.errors import Conflict, Unavailable
from freehold.gateway import server
from freehold.gateway.server import Gateway


def a_component(port: int) -> Gateway:
    return a_gateway_of(FakeWebCalls(), port)


def a_gateway_of(calls: FakeWebCalls, port: int) -> Gateway:
    return Gateway(
        settings=Settings.load(gateway_port=port),
        lanes=StockLanes(calls),
        web_calls=calls,
        proxy_tokens=FakeProxyTokens(),
        blobs=FakeBlobs(),
        status=lambda: STATUS,
        traces=FakeTraces(),
    )


class TestLife:
    async def test_a_port_that_is_taken_says_which_setting_chooses_another(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(Conflict, match=f"Port {port} on 127.0.0.1 is taken .* FREEHOLD_GATEWAY_PORT"):
                async with a_component(port):
                    pass

    async def test_it_answers_as_soon_as_it_is_entered_and_frees_its_port_when_left(self):
        port = free_port()
        for _ in range(2):
            async with a_component(port), aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/healthz") as response:
                assert response.status == 200

    async def test_a_connection_that_rests_keeps_nothing_of_its_last_request_answers_the_next_and_is_closed_in_the_end(self):
        async with a_component(port := free_port()) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            state = gateway._ingress.state
            for _ in range(2):
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                async with asyncio.timeout(DEADLINE):
                    head = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
                (connection,) = state.connections
                assert connection.head is not None
                state.pausing.sweep(math.inf)
                assert connection.head is None
            state.idle.sweep(math.inf)
            async with asyncio.timeout(DEADLINE):
                assert await reader.read() == b""
            writer.close()

    async def test_signals_stay_with_the_process_around_it(self):
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        async with a_component(free_port()):
            assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

    async def test_an_error_of_its_block_comes_out_as_it_is(self):
        error = Unavailable("Another component does not start.")
        with pytest.raises(Unavailable):
            async with a_component(free_port()):
                raise error

    async def test_responses_under_way_may_end_when_it_stops(self):
        app, port = Stepwise(), free_port()
        async with FakeWebCalls() as calls, aiohttp.ClientSession() as http:
            calls.deploy("local--f", app)
            async with a_gateway_of(calls, port):
                response = await http.get(f"http://127.0.0.1:{port}/local--f/")
                app.say(b"begun, ")
                assert await response.content.readexactly(7) == b"begun, "
                app.say(b"done")
                app.end()
            assert await response.read() == b"done"

    async def test_requests_that_outlive_the_grace_are_cancelled_before_it_is_gone(self, monkeypatch):
        monkeypatch.setattr(server, "_GRACE_SECONDS", 0)
        port = free_port()
        async with FakeWebCalls() as calls, aiohttp.ClientSession() as http, anyio.create_task_group() as callers:
            calls.deploy("local--f", silent)
            async with a_gateway_of(calls, port):
                callers.start_soon(http.get, f"http://127.0.0.1:{port}/local--f/")
                call = await calls.first()
            assert call.is_cancelled
            callers.cancel_scope.cancel()

    async def test_those_who_wait_still_are_told_that_it_stops(self, monkeypatch):
        monkeypatch.setattr(server, "_GRACE_SECONDS", 0)
        port = free_port()
        async with FakeWebCalls() as calls:
            calls.deploy("local--f", silent)
            async with a_gateway_of(calls, port):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /local--f/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await calls.first()
            with anyio.fail_after(DEADLINE):
                answer = await reader.read()
            writer.close()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"stopping"' in answer


class TestOwnPages:
    async def test_healthz_is_the_status_as_json(self):
        async with a_gateway() as gateway, gateway.http.get(f"{gateway.url}/healthz") as response:
            assert await response.json() == STATUS

    async def test_other_paths_say_where_functions_are(self):
        async with a_gateway() as gateway, gateway.http.get(f"{gateway.url}/predict") as response:
            answer = await response.json()

        assert response.status == 404
        assert "/predict" in answer["detail"]
        assert "modal app list" in answer["hint"]

    async def test_a_functions_host_has_its_own_healthz(self):
        async with a_gateway() as gateway, gateway.request("local--nobody", "/healthz") as response:
            assert response.status == 404
