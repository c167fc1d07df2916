"""HTTP as containers serve it, over a real socket: what the gateway tells in fields, who leaves, what fails."""

import asyncio
import io
import json
import logging
from contextlib import asynccontextmanager
from contextvars import ContextVar

import aiohttp
import pytest

from freehold.container import serving
from freehold.container.serving import Server, Site

DEADLINE = 30
IDS = ContextVar("IDS", default=())


@asynccontextmanager
async def served(tmp_path, *apps, **sites):
    """A client of the apps; its `server` serves them."""
    sites = {"": Site(apps[0], {})} if apps else sites
    server = Server(sites, lambda *ids: IDS.set(ids))
    await server.start(str(tmp_path / "http.sock"))
    connector = aiohttp.UnixConnector(str(tmp_path / "http.sock"))
    try:
        async with asyncio.timeout(DEADLINE), aiohttp.ClientSession("http://modal", connector=connector) as client:
            client._server = server
            yield client
    finally:
        await server.interrupt()


class BugError(Exception):
    pass


async def start(send, status=200, *headers):
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def tell_scope(scope, receive, send):
    seen = {key: scope[key] for key in ("path", "root_path", "client", "scheme", "server", "state")}
    seen["raw_path"] = scope["raw_path"].decode()
    seen["headers"] = {name.decode(): value.decode() for name, value in scope["headers"]}
    seen["ids"] = IDS.get()
    await start(send)
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


class TestWhatTheGatewayTells:
    async def test_ids_become_those_of_the_request_and_are_not_seen(self, tmp_path):
        async with served(tmp_path, tell_scope) as client, client.get("/", headers={"x-freehold-ids": "in-1,fc-2"}) as answer:
            seen = await answer.json(content_type=None)

        assert seen["ids"] == ["in-1", "fc-2"]
        assert not [name for name in seen["headers"] if name.startswith("x-freehold")]

    async def test_the_caller_is_the_one_at_the_gateway(self, tmp_path):
        told = {"x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https", "x-forwarded-host": "me.example:8443"}
        async with served(tmp_path, tell_scope) as client, client.get("/", headers=told) as answer:
            seen = await answer.json(content_type=None)

        assert (seen["client"], seen["scheme"], seen["server"]) == (["192.0.2.7", 0], "https", ["me.example", 8443])

    @pytest.mark.parametrize(
        ("host", "server"), [("me.example", ["me.example", 80]), ("[::1]", ["[::1]", 80]), ("[::1]:81", ["[::1]", 81])]
    )
    async def test_the_server_is_the_host_that_was_asked_for(self, tmp_path, host, server):
        async with served(tmp_path, tell_scope) as client, client.get("/", headers={"Host": host}) as answer:
            assert (await answer.json(content_type=None))["server"] == server

    async def test_the_prefix_of_its_address_is_the_root_path_of_the_app(self, tmp_path):
        told = {"x-forwarded-prefix": "/local--a-b"}
        async with served(tmp_path, tell_scope) as client, client.get("/local--a-b/x", headers=told) as answer:
            seen = await answer.json(content_type=None)

        assert (seen["path"], seen["raw_path"], seen["root_path"]) == ("/local--a-b/x", "/local--a-b/x", "/local--a-b")

    async def test_each_method_has_its_own_state_and_each_request_its_copy(self, tmp_path):
        async def count(scope, receive, send):
            scope["state"]["n"] += 1
            await start(send)
            await send({"type": "http.response.body", "body": str(scope["state"]["n"]).encode()})

        async with served(tmp_path, one=Site(count, {"n": 1}), ten=Site(count, {"n": 10})) as client:
            texts = []
            for name in ("one", "ten", "one", "none"):
                async with client.get("/", headers={"x-freehold-method": name}) as answer:
                    texts.append((answer.status, await answer.text()))

        assert texts[:3] == [(200, "2"), (200, "11"), (200, "2")]
        assert texts[3][0] == 404


class TestCallersThatLeave:
    async def test_the_app_hears_it_and_is_cancelled(self, tmp_path):
        story = []
        done = asyncio.Event()

        async def app(scope, receive, send):
            await receive()
            await start(send)
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            story.append((await receive())["type"])
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                story.append("cancelled")
                done.set()
                raise

        async with served(tmp_path, app) as client:
            async with client.get("/") as answer:
                await answer.content.readany()
                answer.connection.transport.abort()
            await done.wait()

        assert story == ["http.disconnect", "cancelled"]

    async def test_one_that_has_its_answer_cancels_nothing(self, tmp_path):
        ended = asyncio.Event()

        async def app(scope, receive, send):
            await start(send, 200, (b"content-length", b"2"))
            await send({"type": "http.response.body", "body": b"ok"})
            await asyncio.sleep(2 * serving._FAREWELL)
            ended.set()

        async with served(tmp_path, app) as client:
            async with client.get("/", headers={"connection": "close"}) as answer:
                assert await answer.text() == "ok"
            await ended.wait()

    async def test_a_websocket_that_is_left_is_told_and_then_cancelled(self, tmp_path, monkeypatch):
        monkeypatch.setattr(serving, "_GOODBYE", 0.2)
        story = []
        done = asyncio.Event()

        async def app(scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            story.append((await receive())["type"])
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                story.append("cancelled")
                done.set()
                raise

        async with served(tmp_path, app) as client:
            async with client.ws_connect("/"):
                pass
            await done.wait()

        assert story == ["websocket.disconnect", "cancelled"]


class TestFailures:
    async def test_an_error_is_a_500_and_a_traceback(self, tmp_path, capfd):
        async def app(scope, receive, send):
            raise BugError

        async with served(tmp_path, app) as client, client.get("/") as answer:
            assert answer.status == 500

        assert "BugError" in capfd.readouterr().err

    async def test_an_error_within_a_response_cuts_it(self, tmp_path):
        async def app(scope, receive, send):
            await start(send)
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise BugError

        async with served(tmp_path, app) as client, client.get("/") as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()

    async def test_an_error_after_a_whole_response_leaves_the_connection_to_the_next_request(self, tmp_path):
        async def app(scope, receive, send):
            await start(send, 500, (b"content-length", b"2"))
            await send({"type": "http.response.body", "body": b"no"})
            raise BugError

        async with served(tmp_path, app):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "http.sock"))
            for _ in range(3):
                writer.write(b"GET / HTTP/1.1\r\nhost: modal\r\n\r\n")
                assert (await reader.readuntil(b"\r\n\r\nno")).startswith(b"HTTP/1.1 500")
            writer.close()

    async def test_an_error_in_a_websocket_closes_it(self, tmp_path):
        async def app(scope, receive, send):
            await receive()
            if scope["path"] == "/late":
                await send({"type": "websocket.accept"})
            raise BugError

        async with served(tmp_path, app) as client:
            async with client.ws_connect("/late") as socket:
                await socket.receive()
                assert socket.close_code == 1011
            with pytest.raises(aiohttp.WSServerHandshakeError, match="500"):
                await client.ws_connect("/early")

    async def test_requests_are_not_told_to_the_logging_of_the_user(self, tmp_path, caplog):
        caplog.set_level(logging.DEBUG)
        async with served(tmp_path, tell_scope) as client, client.get("/") as answer:
            assert answer.status == 200

        assert not [record for record in caplog.records if "uvicorn" in record.name]


class TestLeaving:
    async def test_what_runs_is_finished_and_nothing_more_is_taken(self, tmp_path):
        may_end = asyncio.Event()

        async def app(scope, receive, send):
            await start(send)
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await may_end.wait()
            await send({"type": "http.response.body", "body": b" last"})

        async with served(tmp_path, app) as client, client.get("/") as answer:
            assert await answer.content.readany() == b"first"
            async with asyncio.TaskGroup() as group:
                leaving = group.create_task(client._server.leave())
                with pytest.raises(aiohttp.ClientConnectionError):
                    await client.get("/")
                assert not leaving.done()
                may_end.set()
                assert await answer.content.read() == b" last"

    async def test_an_interruption_cancels_what_runs(self, tmp_path):
        story = []

        async def app(scope, receive, send):
            await start(send)
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            try:
                await asyncio.sleep(60)
            finally:
                story.append("cleaned up")

        async with served(tmp_path, app) as client, client.get("/") as answer:
            await answer.content.readany()
            await client._server.interrupt()

        assert story == ["cleaned up"]


async def test_large_bodies_pass_both_ways(tmp_path):
    async def echo(scope, receive, send):
        await start(send)
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    data = b"0123456789abcdef" * (1 << 20)
    async with served(tmp_path, echo) as client, client.post("/", data=io.BytesIO(data)) as answer:
        assert await answer.read() == data
