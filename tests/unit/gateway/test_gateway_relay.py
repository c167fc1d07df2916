"""The fast path: requests to real uvicorn servers on unix sockets, and to servers that misbehave."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO

import aiohttp
import anyio
import pytest
from fakes.asgi_apps import Stepwise, Upload, body, echo, silent, start
from fakes.gateway import DEADLINE, FakeTraces, RunningGateway, a_gateway
from fakes.lanes import TOKEN, FakeLanes, a_server
from starlette.websockets import WebSocket

from freehold.domain.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from freehold.domain.functions import WebKind

LABEL = "local--iris-predict"
CALL_ID = "modal-function-call-id"
MIB = 1024 * 1024


class Served:
    def __init__(self, gateway: RunningGateway, lanes: FakeLanes) -> None:
        self.gateway, self.lanes = gateway, lanes

    async def seen(self, path: str = "/", **options):
        async with self.gateway.request(LABEL, path, **options) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def waiting(self, number: int) -> None:
        """Returns when so many requests wait for a container."""
        with anyio.fail_after(DEADLINE):
            while f"freehold_http_requests_waiting {number}\n" not in await self._figures():  # noqa: ASYNC110
                await anyio.sleep(0.01)

    async def _figures(self) -> str:
        async with self.gateway.http.get(f"{self.gateway.url}/metrics") as response:
            return await response.text()

    async def free(self) -> None:
        """Returns when no lane is booked any more."""
        with anyio.fail_after(DEADLINE):
            while any(lane.booked for lane in self.lanes.lanes):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert self.lanes.taken == self.lanes.released


@asynccontextmanager
async def served(app, tmp_path, *, rules=None, **settings) -> AsyncIterator[Served]:
    lanes = FakeLanes()
    async with a_server(app, tmp_path / "http.sock") as address, a_gateway(lanes=lanes, **settings) as gateway:
        lanes.deploy(LABEL, address, **(rules or {}))
        yield Served(gateway, lanes)


@asynccontextmanager
async def answering(*answers: bytes | list[bytes] | None, tmp_path, **settings) -> AsyncIterator[Served]:
    """A container that says these bytes, one to each connection, once a request is there; None closes at once.

    A list is said to one connection, which then ends with the next request.
    """
    rest = list(answers)

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = rest.pop(0) if rest else None
        for answer in said if isinstance(said, list) else [said]:
            if answer is not None and await reader.readuntil(b"\r\n\r\n"):
                writer.write(answer)
                await writer.drain()
        if isinstance(said, list):
            await reader.read(1)  # it ends when the next request comes
        writer.close()

    lanes = FakeLanes()
    path = tmp_path / "odd.sock"
    async with await asyncio.start_unix_server(speak, path), a_gateway(lanes=lanes, **settings) as gateway:
        lanes.deploy(LABEL, str(path))
        yield Served(gateway, lanes)


async def raw(port: int, *pieces: str | bytes, until: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(DEADLINE):
        for piece in pieces:
            writer.write(piece if isinstance(piece, bytes) else piece.replace("\n", "\r\n").encode())
            await writer.drain()
        answer = await (reader.readuntil(until) if until else reader.read())
    writer.close()
    return answer


class TestRequests:
    async def test_a_request_reaches_the_container_as_it_was_sent(self, tmp_path):
        async with served(echo, tmp_path) as site:
            request = await site.seen("/a%20b?x=1", method="POST", data=b"hello", headers={"X-Kept": "2", "traceparent": "00-1-2-01"})
            await site.free()

        assert (request["method"], request["path"], request["query"], request["body"]) == ("POST", "/a b", "x=1", "hello")
        assert {("x-kept", "2"), ("traceparent", "00-1-2-01")} <= set(map(tuple, request["headers"]))

    async def test_its_container_may_be_told_of_another_span_in_its_place(self, tmp_path):
        async with served(echo, tmp_path, traces=FakeTraces(b"00-1-9-01")) as site:
            fields = [tuple(pair) for pair in (await site.seen(headers={"traceparent": "00-1-2-01"}))["headers"]]

        assert [value for name, value in fields if name == "traceparent"] == ["00-1-9-01"]

    async def test_what_was_seen_of_it_is_noted_when_it_ends(self, tmp_path):
        traces = FakeTraces()
        async with served(echo, tmp_path, traces=traces) as site:
            async with site.gateway.request(LABEL, headers={"traceparent": "00-1-2-01"}) as response:
                await response.read()
            await site.free()

        function_id, method, status, began, booked, answered, ended, task_id, traceparent = traces.noted[response.headers[CALL_ID]]
        assert (method, status, traceparent) == ("GET", 200, b"00-1-2-01")
        assert began <= booked <= answered <= ended
        assert (function_id[:3], task_id[:3]) == ("fu-", "ta-")

    async def test_it_gets_ids_and_its_caller_is_told_them(self, tmp_path):
        async with served(echo, tmp_path) as site, site.gateway.request(LABEL, headers={"X-Request-Id": "mine"}) as response:
            fields = dict(map(tuple, (await response.json())["headers"]))

        input_id, call_id = fields["x-freehold-ids"].split(",")
        assert (input_id[:3], call_id[:3]) == ("in-", "fc-")
        assert response.headers["Modal-Function-Call-Id"] == call_id
        assert (fields["x-request-id"], response.headers["X-Request-Id"]) == ("mine", "mine")

    async def test_a_server_of_the_users_own_gets_nothing_that_is_for_ours(self, tmp_path):
        async with served(echo, tmp_path, rules={"kind": WebKind.SERVER, "method_name": "web"}) as site:
            names = [name for name, _ in (await site.seen())["headers"]]

        assert "x-request-id" in names
        assert not [name for name in names if name.startswith("x-freehold-")]

    async def test_a_request_has_an_id_the_other_way_too(self):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo)
            for fields in ({}, {"X-Request-Id": "mine"}):
                async with gateway.request(LABEL, headers=fields) as response:
                    seen = [value for name, value in (await response.json())["headers"] if name == "x-request-id"]
                assert seen == [response.headers["X-Request-Id"]]
        assert seen == ["mine"]

    async def test_nobody_gives_itself_ids(self, tmp_path):
        async with served(echo, tmp_path) as site:
            fields = [tuple(field) for field in (await site.seen(headers={"X-Freehold-Ids": "in-forged,fc-forged"}))["headers"]]

        assert len([value for name, value in fields if name == "x-freehold-ids"]) == 1
        assert "forged" not in str(fields)

    async def test_hop_by_hop_fields_stay_on_their_hop(self, tmp_path):
        async with served(echo, tmp_path) as site:
            request = await site.seen(headers={"Connection": "keep-alive, X-Mine", "X-Mine": "1", "TE": "trailers", "X-Kept": "2"})

        names = {name for name, _ in request["headers"]}
        assert "x-kept" in names
        assert not names & {"connection", "x-mine", "te"}

    async def test_the_container_learns_who_asked_and_how(self, tmp_path):
        told = {"X-Forwarded-For": "6.6.6.6, 192.0.2.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "api.example.org"}
        async with served(echo, tmp_path) as site, site.gateway.http.get(f"{site.gateway.url}/{LABEL}/a", headers=told) as response:
            fields = dict(map(tuple, (await response.json())["headers"]))

        assert fields["x-forwarded-for"] == "192.0.2.7"
        assert (fields["x-forwarded-proto"], fields["x-forwarded-host"]) == ("https", "api.example.org")
        assert fields["x-forwarded-prefix"] == f"/{LABEL}"

    @pytest.mark.parametrize(
        ("kind", "path", "inner"),
        [
            (WebKind.ASGI, f"/{LABEL}/a%2Fb?x", f"/{LABEL}/a/b"),
            (WebKind.ASGI, f"/{LABEL}", f"/{LABEL}/"),
            (WebKind.SERVER, f"/{LABEL}/a%2Fb", "/a/b"),
            (WebKind.FUNCTION, f"/{LABEL}/predict/", "/"),
            (WebKind.FUNCTION, f"/{LABEL}/other", "/other"),
        ],
    )
    async def test_paths_are_those_that_apps_see_on_the_other_way_too(self, tmp_path, kind, path, inner):
        rules = {"kind": kind, "name": "predict"}
        async with served(echo, tmp_path, rules=rules) as site, site.gateway.http.get(site.gateway.url + path) as response:
            assert (await response.json())["path"] == inner

    async def test_a_custom_domain_is_an_address_too(self, tmp_path):
        async with served(echo, tmp_path) as site:
            site.lanes.hosts["api.example.org"] = site.lanes.routes[LABEL]
            async with site.gateway.http.get(f"{site.gateway.url}/x", headers={"Host": "api.example.org"}) as response:
                assert (await response.json())["path"] == "/x"

    async def test_connections_to_the_container_are_used_again(self, tmp_path):
        said = [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number for number in range(3)]
        async with answering(said, tmp_path=tmp_path) as site:
            for number in range(3):
                async with site.gateway.request(LABEL) as response:
                    assert await response.text() == str(number)
            await site.free()

    async def test_a_session_is_told_where_a_function_has_them(self, tmp_path):
        async with served(echo, tmp_path, rules={"has_sessions": True}) as site:
            await site.seen(headers={"Modal-Session-ID": "s-1"})

        assert site.lanes.sessions == ["s-1"]

    async def test_a_pipeline_is_answered_in_order(self, tmp_path):
        async with served(echo, tmp_path) as site:
            requests = [f"POST /{n} HTTP/1.1\nHost: {LABEL}.localhost\nContent-Length: 1\n\n{n}" for n in range(5)]
            last = f"GET /last HTTP/1.1\nHost: {LABEL}.localhost\nConnection: close\n\n"
            answer = (await raw(site.gateway.port, "".join(requests) + last)).decode()
            await site.free()

        paths = [json.loads(part.partition("\r\n\r\n")[2])["path"] for part in answer.split("HTTP/1.1 200 OK")[1:]]
        assert paths == ["/0", "/1", "/2", "/3", "/4", "/last"]


class TestResponses:
    async def test_head_gets_the_fields_and_no_body_and_the_connection_goes_on(self, tmp_path):
        async def app(scope, receive, send):
            await start(send, content_length="5")
            await body(send, b"" if scope["method"] == "HEAD" else b"hello", more=False)

        async with served(app, tmp_path) as site:
            for _ in range(2):
                async with site.gateway.request(LABEL, method="HEAD") as response:
                    assert response.headers["Content-Length"] == "5"
                async with site.gateway.request(LABEL) as response:
                    assert await response.read() == b"hello"

    async def test_what_is_wrong_after_a_head_is_told_with_a_body(self, tmp_path):
        async with served(echo, tmp_path) as site:
            answer = await raw(site.gateway.port, f"HEAD / HTTP/1.1\nHost: {LABEL}.localhost\n\n", "no request\n")

        assert b'"error":"invalid_request"' in answer

    @pytest.mark.parametrize("status", [204, 304])
    async def test_a_status_without_body_has_none(self, tmp_path, status):
        async def app(scope, receive, send):
            await start(send, status=status)
            await body(send, b"", more=False)

        async with served(app, tmp_path) as site:
            for _ in range(2):
                async with site.gateway.request(LABEL) as response:
                    assert (response.status, await response.read()) == (status, b"")

    async def test_http_1_0_gets_a_body_that_ends_with_the_connection(self, tmp_path):
        async def app(scope, receive, send):
            await start(send)
            await body(send, b"one ")
            await body(send, b"two", more=False)

        async with served(app, tmp_path) as site:
            answer = await raw(site.gateway.port, f"GET / HTTP/1.0\nHost: {LABEL}.localhost\n\n")

        assert b"transfer-encoding" not in answer.lower()
        assert answer.endswith(b"\r\n\r\none two")

    async def test_http_1_0_may_keep_its_connection(self, tmp_path):
        async with served(echo, tmp_path) as site:
            one = f"GET / HTTP/1.0\nHost: {LABEL}.localhost\nConnection: keep-alive\n\n"
            answer = await raw(site.gateway.port, one + one.replace("keep-alive", "close"))

        assert answer.count(b"HTTP/1.1 200 OK") == 2

    async def test_a_response_without_a_length_is_chunked_and_its_trailers_dropped(self, tmp_path):
        async with answering(
            b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
            tmp_path=tmp_path,
        ) as site:
            request = f"GET / HTTP/1.1\nHost: {LABEL}.localhost\nConnection: close\n\n"
            first, second = await raw(site.gateway.port, request), await raw(site.gateway.port, request)
            await site.free()

        assert first.endswith(b"d\r\nuntil the end\r\n0\r\n\r\n")
        assert second.endswith(b"3\r\nabc\r\n0\r\n\r\n")
        assert b"X-Sum" not in second

    async def test_expect_is_answered_by_the_container(self, tmp_path):
        async with served(echo, tmp_path) as site:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.gateway.port)
            head = f"POST / HTTP/1.1\r\nHost: {LABEL}.localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
            async with asyncio.timeout(DEADLINE):
                writer.write(head.encode())
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                writer.write(b"ok")
                answer = await reader.read()
            writer.close()

        assert json.loads(answer.partition(b"\r\n\r\n")[2])["body"] == "ok"

    async def test_who_waits_to_be_asked_for_the_body_may_wait_as_long_as_the_container_starts(self, tmp_path):
        async with served(echo, tmp_path, http_body_timeout=0.3) as site:
            address = site.lanes.lanes.pop().address
            reader, writer = await asyncio.open_connection("127.0.0.1", site.gateway.port)
            head = f"POST / HTTP/1.1\r\nHost: {LABEL}.localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
            async with asyncio.timeout(DEADLINE):
                writer.write(head.encode())
                await anyio.sleep(0.9)
                site.lanes.open(address)
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                writer.write(b"ok")
                assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()

    async def test_a_body_that_was_not_asked_for_is_not_taken_for_the_next_request(self, tmp_path):
        async def app(scope, receive, send):
            await start(send, status=401, content_length="0")
            await body(send, b"", more=False)

        async with served(app, tmp_path) as site:
            head = f"POST / HTTP/1.1\nHost: {LABEL}.localhost\nContent-Length: 50\nExpect: 100-continue\n\n"
            answer = await raw(site.gateway.port, head)
            await site.free()

        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"connection: close" in answer

    async def test_early_hints_pass(self, tmp_path):
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        async with answering(hints, tmp_path=tmp_path) as site:
            answer = await raw(site.gateway.port, f"GET / HTTP/1.1\nHost: {LABEL}.localhost\nConnection: close\n\n")

        assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n")

    async def test_each_event_arrives_before_the_next_is_made(self, tmp_path):
        app = Stepwise()
        async with served(app, tmp_path) as site, site.gateway.request(LABEL) as response:
            for number in range(3):
                app.say(b"data: %d\n\n" % number)
                assert await response.content.readuntil(b"\n\n") == b"data: %d\n\n" % number
            app.end()
            assert await response.read() == b""

    async def test_a_second_answer_that_nobody_asked_for_reaches_nobody(self, tmp_path):
        forged = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
        good = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
        async with answering([forged], [good], tmp_path=tmp_path) as site:
            for expected in (b"ok", b"good"):
                async with site.gateway.request(LABEL) as response:
                    assert await response.read() == expected


class TestBodies:
    async def test_large_bodies_pass_both_ways(self, tmp_path):
        async def app(scope, receive, send):
            await start(send)
            more = True
            while more:
                message = await receive()
                more = message["more_body"]
                await body(send, message["body"], more=more)

        data = bytes(range(256)) * (8 * MIB // 256)
        async with served(app, tmp_path) as site:
            async with site.gateway.request(LABEL, method="POST", data=BytesIO(data)) as response:
                assert await response.read() == data

            async def parts():
                for at in range(0, len(data), 100_000):
                    yield data[at : at + 100_000]

            async with site.gateway.request(LABEL, method="POST", data=parts()) as response:
                assert await response.read() == data
            await site.free()

    async def test_a_container_that_does_not_read_holds_its_caller_back(self, tmp_path):
        offered = 0

        async def parts():
            nonlocal offered
            for _ in range(64):
                offered += MIB
                yield bytes(MIB)

        rules = {"timeout": 0.3}
        async with served(silent, tmp_path, rules=rules) as site, site.gateway.request(LABEL, method="PUT", data=parts()) as response:
            assert response.status == 504
            assert offered < 32 * MIB

    async def test_a_caller_that_does_not_read_holds_the_container_back(self, tmp_path):
        made = 0

        async def app(scope, receive, send):
            nonlocal made
            await start(send)
            for _ in range(64):
                await body(send, bytes(MIB))
                made += 1
            await body(send, b"", more=False)

        async with served(app, tmp_path) as site:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.gateway.port, limit=2**16)
            writer.write(f"GET / HTTP/1.1\r\nHost: {LABEL}.localhost\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            await anyio.sleep(0.3)
            assert made < 32
            async with asyncio.timeout(DEADLINE):
                while made < 64:
                    await reader.read(MIB)
            writer.close()
            await site.free()

    async def test_who_asks_on_and_on_without_reading_is_not_answered_on_and_on(self, tmp_path):
        asked = 0

        async def app(scope, receive, send):
            nonlocal asked
            asked += 1
            await start(send, content_length=str(MIB))
            await body(send, bytes(MIB), more=False)

        async with served(app, tmp_path) as site:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.gateway.port, limit=2**16)
            writer.write(f"GET / HTTP/1.1\r\nHost: {LABEL}.localhost\r\n\r\n".encode() * 200)
            await anyio.sleep(0.5)
            assert asked < 50
            async with asyncio.timeout(DEADLINE):
                while asked < 60:
                    await reader.read(MIB)
            writer.close()
            await site.free()

    async def test_an_answer_before_the_end_of_the_upload_is_an_answer(self, tmp_path):
        async def app(scope, receive, send):
            await start(send, status=413, content_length="8")
            await body(send, b"too much", more=False)

        async with served(app, tmp_path) as site:
            async with site.gateway.request(LABEL, method="PUT", data=BytesIO(bytes(4 * MIB))) as response:
                assert (response.status, await response.text()) == (413, "too much")
            await site.free()

    async def test_an_upload_that_breaks_after_its_answer_gets_no_second_one(self, tmp_path):
        async def app(scope, receive, send):
            await start(send, content_length="2")
            await body(send, b"ok", more=False)

        async with served(app, tmp_path) as site:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.gateway.port)
            writer.write(f"PUT / HTTP/1.1\r\nHost: {LABEL}.localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n".encode())
            answer = await reader.readuntil(b"\r\n\r\nok")
            writer.write(b"no chunk\r\n")
            async with asyncio.timeout(DEADLINE):
                answer += await reader.read()
            writer.close()
            await site.free()

        assert answer.count(b"HTTP/1.1") == 1

    async def test_the_first_part_is_read_while_the_caller_makes_the_second(self, tmp_path):
        app = Upload()

        async def parts():
            yield b"first"
            assert await app.sizes.get() == len(b"first")
            yield b"second"

        async with served(app, tmp_path) as site:
            assert await site.seen(method="PUT", data=parts()) == len(b"firstsecond")


class TestDepartures:
    async def test_a_caller_who_leaves_is_noticed_by_the_container(self, tmp_path):
        app = Stepwise()
        async with served(app, tmp_path) as site:
            async with site.gateway.request(LABEL) as response:
                app.say(b"x")
                await response.content.readexactly(1)
                response.close()
            with anyio.fail_after(DEADLINE):
                await app.client_left.wait()
            await site.free()

    @pytest.mark.parametrize("ends", ["closes", "breaks"])
    async def test_a_caller_who_leaves_while_nothing_is_read_of_it_is_noticed_too(self, tmp_path, ends):
        async with served(silent, tmp_path) as site:
            site.lanes.lanes.clear()
            _, writer = await asyncio.open_connection("127.0.0.1", site.gateway.port)
            writer.write(f"PUT / HTTP/1.1\r\nHost: {LABEL}.localhost\r\nContent-Length: {MIB}\r\n\r\n".encode())
            writer.write(bytes(100_000))
            await writer.drain()
            await site.waiting(1)
            if ends == "breaks":
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()
            await site.waiting(0)

    async def test_a_body_that_is_there_does_not_hide_that_its_sender_has_left(self, tmp_path):
        async with served(silent, tmp_path, http_body_timeout=60) as site:
            site.lanes.lanes.clear()
            _, writer = await asyncio.open_connection("127.0.0.1", site.gateway.port)
            writer.write(f"PUT / HTTP/1.1\r\nHost: {LABEL}.localhost\r\nContent-Length: 100000\r\n\r\n".encode() + bytes(100_000))
            await site.waiting(1)
            writer.close()
            await site.waiting(0)

    async def test_a_caller_who_leaves_while_it_waits_for_a_container_takes_none(self, tmp_path):
        async with served(echo, tmp_path) as site:
            address = site.lanes.lanes.pop().address
            _, writer = await asyncio.open_connection("127.0.0.1", site.gateway.port)
            writer.write(f"GET / HTTP/1.1\r\nHost: {LABEL}.localhost\r\n\r\n".encode())
            await site.waiting(1)
            writer.close()
            await site.waiting(0)
            site.lanes.open(address)
            assert await site.seen()
            await site.free()

    @pytest.mark.parametrize("beginning", [b"Content-Length: 100\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"])
    async def test_a_response_that_the_container_cuts_is_cut(self, tmp_path, beginning):
        async with answering(b"HTTP/1.1 200 OK\r\n" + beginning, tmp_path=tmp_path) as site:
            async with site.gateway.request(LABEL) as response:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await response.read()
            await site.free()


class TestWaiting:
    async def test_a_request_waits_for_a_container(self, tmp_path):
        async with served(echo, tmp_path) as site:
            address = site.lanes.lanes.pop().address
            answers = []

            async def ask():
                answers.append(await site.seen(method="POST", data=b"a body that waits too"))

            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await site.waiting(1)
                site.lanes.open(address)

        assert answers[0]["body"] == "a body that waits too"

    @pytest.mark.parametrize(
        ("error", "status"),
        [(DeadlineExceeded("No room."), 503), (ResourceExhausted("Too many."), 503), (Unavailable("It cannot start."), 502)],
    )
    async def test_one_for_which_there_is_none_is_told(self, tmp_path, error, status):
        async with served(echo, tmp_path) as site:
            site.lanes.lanes.clear()
            site.lanes.refusal = error
            async with site.gateway.request(LABEL) as response:
                assert (response.status, (await response.json())["detail"]) == (status, str(error))
                assert ("Retry-After" in response.headers) == (status == 503)

    async def test_a_container_that_refuses_is_passed_over(self, tmp_path):
        async with served(echo, tmp_path) as site:
            good = site.lanes.lanes.pop()
            bad = site.lanes.open(str(tmp_path / "nobody.sock"))
            site.lanes.lanes.append(good)

            assert (await site.seen(method="POST", data=b"kept"))["body"] == "kept"
            assert site.lanes.lost_lanes == [bad]
            await site.free()

    async def test_if_all_refuse_the_caller_is_told(self, tmp_path):
        traces = FakeTraces()
        async with served(echo, tmp_path, traces=traces) as site:
            site.lanes.lanes.clear()
            for number in range(4):
                site.lanes.open(str(tmp_path / f"nobody{number}.sock"))
            async with site.gateway.request(LABEL) as response:
                assert response.status == 502
            await site.free()

        [(_, _, status, _, booked, answered, *_)] = traces.noted.values()
        assert (status, answered) == (0, 0.0)
        assert booked

    async def test_a_function_without_lanes_goes_the_other_way(self, tmp_path):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo)
            async with gateway.request(LABEL, method="POST", data=b"x") as response:
                assert (await response.json())["body"] == "x"
                assert response.headers["Modal-Function-Call-Id"] == gateway.calls.calls[0].call_id


class TestTime:
    async def test_a_request_that_takes_its_whole_time_is_a_504_and_its_container_is_replaced(self, tmp_path):
        async with served(silent, tmp_path, rules={"timeout": 0.3}) as site:
            async with site.gateway.request(LABEL) as response:
                assert (response.status, (await response.json())["error"]) == (504, "timeout")
            assert len(site.lanes.timed_out_lanes) == 1
            await site.free()

    async def test_its_container_stays_if_it_was_the_caller_who_took_the_time(self, tmp_path):
        async def app(scope, receive, send):
            if scope["method"] == "PUT":
                await (await receive() and receive())
            await start(send)
            for _ in range(64):
                await body(send, bytes(MIB))

        async with served(app, tmp_path, rules={"timeout": 1.0}) as site:
            for line, fields in (("PUT", "Content-Length: 100\n"), ("GET", "")):
                _, writer = await asyncio.open_connection("127.0.0.1", site.gateway.port, limit=2**16)
                request = f"{line} / HTTP/1.1\nHost: {LABEL}.localhost\n{fields}\n"
                writer.write(request.replace("\n", "\r\n").encode() + b"some")
                with anyio.fail_after(DEADLINE):
                    while not site.lanes.lanes[0].booked:  # noqa: ASYNC110
                        await anyio.sleep(0.01)
                await site.free()
                writer.transport.abort()

        assert site.lanes.timed_out_lanes == []

    async def test_a_response_that_has_begun_is_cut_then(self, tmp_path):
        app = Stepwise()
        async with served(app, tmp_path, rules={"timeout": 0.5}) as site:
            async with site.gateway.request(LABEL) as response:
                app.say(b"begun")
                with pytest.raises(aiohttp.ClientPayloadError):
                    await response.read()
            await site.free()


class TestLostConnections:
    async def test_a_kept_connection_that_broke_is_replaced_for_what_may_be_repeated(self, tmp_path):
        kept = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]
        async with answering(kept, kept, tmp_path=tmp_path) as site:
            for _ in range(2):
                async with site.gateway.request(LABEL, method="DELETE") as response:
                    assert await response.read() == b"ok"
            await site.free()

    async def test_what_may_not_be_repeated_is_not(self, tmp_path):
        kept = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]
        async with answering(kept, kept, tmp_path=tmp_path) as site:
            for status in (200, 502):
                async with site.gateway.request(LABEL, method="POST") as response:
                    assert response.status == status
            await site.free()

    async def test_a_container_that_closes_before_it_answers_is_a_502(self, tmp_path):
        async with answering(None, tmp_path=tmp_path) as site:
            async with site.gateway.request(LABEL) as response:
                assert (response.status, (await response.json())["error"]) == (502, "container_failed")
            await site.free()

    @pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok"])
    async def test_what_is_no_http_is_a_502(self, tmp_path, answer):
        async with answering(answer, answer, tmp_path=tmp_path) as site:
            async with site.gateway.request(LABEL) as response:
                assert response.status == 502
            await site.free()


class TestProxyTokens:
    async def test_a_function_may_want_a_token_which_it_does_not_see(self, tmp_path):
        fields = dict(zip(("Modal-Key", "Modal-Secret"), TOKEN, strict=True))
        async with served(echo, tmp_path, rules={"needs_proxy_auth": True}) as site:
            request = await site.seen(headers=fields)
            for wrong in ({}, {"Modal-Key": TOKEN[0]}, fields | {"Modal-Secret": "other"}):
                async with site.gateway.request(LABEL, headers=wrong) as response:
                    assert response.status == 401
            await site.free()

        assert TOKEN[1] not in str(request)

    async def test_a_bearer_is_shown_with_each_request_of_a_connection_and_seen_with_none(self, tmp_path):
        fields = {"Authorization": f"Bearer {'.'.join(TOKEN)}"}
        async with served(echo, tmp_path, rules={"needs_proxy_auth": True}) as site:
            for _ in range(3):
                assert TOKEN[1] not in str(await site.seen(headers=fields))

    async def test_it_goes_no_further_the_other_way_either(self):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo)
            for fields in (dict(zip(("Modal-Key", "Modal-Secret"), TOKEN, strict=True)), {"Authorization": "Bearer of-the-app"}):
                async with gateway.request(LABEL, headers=fields) as response:
                    seen = await response.text()
                assert TOKEN[1] not in seen
        assert "of-the-app" in seen


class TestWebSockets:
    async def test_they_pass_as_they_are(self, tmp_path):
        async def app(scope, receive, send):
            socket = WebSocket(scope, receive, send)
            await socket.accept(subprotocol="v2")
            while (text := await socket.receive_text()) != "bye":
                await socket.send_text(text)
            await socket.close(4001)

        async with served(app, tmp_path) as site:
            async with site.gateway.websocket(LABEL, "/socket", protocols=["v2"]) as socket:
                assert socket.protocol == "v2"
                for text in ("grüß Gott", "x" * 100_000):
                    await socket.send_str(text)
                    assert await socket.receive_str() == text
                await socket.send_str("bye")
                assert (await socket.receive()).data == 4001
            await site.free()

    async def test_a_refusal_is_an_answer(self, tmp_path):
        async def app(scope, receive, send):
            await WebSocket(scope, receive, send).close()

        async with served(app, tmp_path) as site:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await site.gateway.websocket(LABEL)
            await site.free()

        assert refused.value.status == 403

    async def test_a_caller_who_leaves_ends_the_tunnel(self, tmp_path):
        left = anyio.Event()

        async def app(scope, receive, send):
            socket = WebSocket(scope, receive, send)
            await socket.accept()
            while (await receive())["type"] != "websocket.disconnect":
                pass
            left.set()

        async with served(app, tmp_path) as site:
            socket = await site.gateway.websocket(LABEL)
            await socket.close()
            with anyio.fail_after(DEADLINE):
                await left.wait()
            await site.free()


class TestLongResponses:
    async def test_a_caller_is_sent_away_and_finds_the_response_where_it_was_told(self, tmp_path):
        async with served(silent, tmp_path, http_redirect_after=0.2) as site:
            async with site.gateway.request(LABEL, "/long?x=1", method="POST", data=b"once", allow_redirects=False) as response:
                assert response.status == 303
                again = response.headers["Location"]
                call_id = response.headers["Location"].rpartition("=")[2]
            assert again == f"http://{LABEL}.localhost:{site.gateway.port}/long?x=1&__modal_function_call_id={call_id}"
            path = again.partition(f":{site.gateway.port}")[2]
            async with site.gateway.request(LABEL, path, allow_redirects=False) as response:
                assert (response.status, response.headers["Location"]) == (303, again)

    async def test_a_response_of_the_meantime_is_kept_whole(self, tmp_path):
        go_on = anyio.Event()

        async def app(scope, receive, send):
            await go_on.wait()
            await start(send, status=201, x_mine="1")
            for _ in range(3):
                await body(send, bytes(MIB))
            await body(send, b"end", more=False)

        async with served(app, tmp_path, http_redirect_after=0.2) as site:
            async with site.gateway.request(LABEL, method="POST", allow_redirects=False) as response:
                path = response.headers["Location"].partition(f":{site.gateway.port}")[2]
            go_on.set()
            await anyio.sleep(0.2)
            async with site.gateway.request(LABEL, path) as response:
                assert (response.status, response.headers["X-Mine"]) == (201, "1")
                assert await response.read() == bytes(3 * MIB) + b"end"
            await site.free()
            async with site.gateway.request(LABEL, path) as response:
                assert response.status == 404

    async def test_what_is_sent_with_the_second_question_is_no_part_of_the_first(self, tmp_path):
        paths = []

        async def app(scope, receive, send):
            paths.append(scope["path"])
            await echo(scope, receive, send)

        async with served(app, tmp_path, http_redirect_after=0.2) as site:
            address = site.lanes.lanes.pop().address
            async with site.gateway.request(LABEL, allow_redirects=False) as response:
                path = response.headers["Location"].partition(f":{site.gateway.port}")[2]
            hidden = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", site.gateway.port)
            writer.write(f"POST {path} HTTP/1.1\r\nHost: {LABEL}.localhost\r\nContent-Length: {len(hidden)}\r\n\r\n".encode())
            await anyio.sleep(0.1)
            writer.write(hidden)
            await anyio.sleep(0.1)
            site.lanes.open(address)
            async with asyncio.timeout(DEADLINE):
                await reader.readuntil(b"\r\n\r\n")
            await site.seen("/next")
            writer.close()
            await site.free()

        assert paths == ["/", "/next"]

    async def test_the_other_way_has_the_same(self):
        go_on = anyio.Event()

        async def app(scope, receive, send):
            await go_on.wait()
            await start(send)
            await body(send, b"late ")
            await body(send, b"and whole", more=False)

        async with a_gateway(http_redirect_after=0.2) as gateway:
            gateway.calls.deploy(LABEL, app)
            async with gateway.request(LABEL, method="POST", data=b"x", allow_redirects=False) as response:
                assert response.status == 303
                path = response.headers["Location"].partition(f":{gateway.port}")[2]
            assert gateway.calls.calls[0].call_id in path
            go_on.set()
            async with gateway.request(LABEL, path) as response:
                assert await response.read() == b"late and whole"
            assert not gateway.calls.calls[0].is_cancelled

    async def test_an_id_of_another_function_opens_nothing(self, tmp_path):
        async with served(silent, tmp_path, http_redirect_after=0.2) as site:
            site.lanes.deploy("local--other")
            async with site.gateway.request(LABEL, allow_redirects=False) as response:
                path = response.headers["Location"].partition(f":{site.gateway.port}")[2]
            async with site.gateway.request("local--other", path) as response:
                assert response.status == 404


class Measurements(list):
    """What the gateway says of requests that have ended."""

    def __call__(self, target, place, task_id, status, *, latency, execution):
        assert latency >= execution >= 0
        self.append((place, task_id[:3], status, execution > 0))


class TestMeasured:
    async def test_a_request_is_told_once_with_its_status_and_its_container(self, tmp_path):
        seen = Measurements()
        async with served(echo, tmp_path, measured=seen) as site:
            await site.seen("/a?x=1")
            await site.free()

        assert seen == [(b"/a?x=1", "ta-", 200, True)]

    async def test_a_container_that_breaks_off_is_a_failure_even_after_a_good_beginning(self, tmp_path):
        seen = Measurements()
        half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"
        async with answering(half, tmp_path=tmp_path, measured=seen) as site:
            with pytest.raises(aiohttp.ClientPayloadError):
                await site.seen()
            await site.free()

        assert seen == [(b"/", "ta-", 502, True)]

    async def test_one_that_no_container_takes_has_waited_and_not_run(self, tmp_path):
        seen = Measurements()
        async with served(echo, tmp_path, measured=seen) as site:
            site.lanes.lanes.clear()
            site.lanes.refusal = ResourceExhausted("Too many wait.")
            async with site.gateway.request(LABEL) as response:
                assert response.status == 503

        assert seen == [(b"/", "", 503, False)]

    async def test_one_whose_caller_leaves_has_no_status(self, tmp_path):
        seen = Measurements()
        async with served(silent, tmp_path, measured=seen) as site:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5), site.gateway.request(LABEL):
                    pass
            await site.free()

        assert [status for _, _, status, _ in seen] == [0]

    async def test_one_whose_caller_leaves_in_the_middle_of_a_response_has_its_status(self, tmp_path):
        seen = Measurements()
        half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"
        async with answering([half], tmp_path=tmp_path, measured=seen) as site:
            async with site.gateway.request(LABEL) as response:
                assert response.status == 200
            await site.free()

        assert [status for _, _, status, _ in seen] == [200]

    async def test_a_websocket_is_told_when_it_opens_and_not_again(self, tmp_path):
        async def socket(scope, receive, send):
            websocket = WebSocket(scope, receive, send)
            await websocket.accept()
            await websocket.send_text(await websocket.receive_text())
            await websocket.close()

        seen = Measurements()
        async with served(socket, tmp_path, measured=seen) as site:
            async with site.gateway.websocket(LABEL) as websocket:
                assert [status for _, _, status, _ in seen] == [101]
                await websocket.send_str("on")
                assert await websocket.receive_str() == "on"
            await site.free()

        assert len(seen) == 1


async def test_the_figures_count_each_way(tmp_path):
    async with served(echo, tmp_path) as site:
        await site.seen()
        async with site.gateway.request("local--nobody") as response:
            assert response.status == 404
        async with site.gateway.http.get(f"{site.gateway.url}/healthz"), site.gateway.http.get(f"{site.gateway.url}/metrics") as response:
            text = await response.text()

    assert 'freehold_http_requests_total{path="direct",status="2xx"} 1' in text
    assert 'freehold_http_requests_total{path="refused",status="4xx"} 1' in text
    assert 'freehold_http_requests_total{path="own",status="2xx"} 1' in text
    assert "freehold_http_requests_waiting 0" in text
