"""HTTP through a real gateway: over loopback, to ASGI applications that stand for containers."""

import asyncio
import json
from collections.abc import AsyncIterator
from io import BytesIO

import aiohttp
import anyio
import pytest
from fakes.asgi_apps import Stepwise, Upload, body, breaking_off, echo, failing, silent, start
from fakes.gateway import DEADLINE, RunningGateway, a_gateway
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from freehold.domain.errors import DeadlineExceeded, NotSupported, ResourceExhausted, Unavailable
from freehold.domain.functions import WebKind
from freehold.gateway.proxy import MAX_CHUNK_BYTES

LABEL = "local--iris-predict"


async def seen(gateway: RunningGateway, path: str = "/", **options):
    async with gateway.request(LABEL, path, **options) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def raw(gateway: RunningGateway, request: str) -> str:
    """Everything that comes back on a connection that asks to be closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request.replace("\n", "\r\n").encode())
    async with asyncio.timeout(DEADLINE):
        answer = await reader.read()
    writer.close()
    return answer.decode()


class TestAddresses:
    async def test_a_request_reaches_the_function_that_its_host_names(self):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo)

            request = await seen(gateway, "/a%20b?x=1", method="POST", data=b"hello")

        assert (request["method"], request["path"], request["query"]) == ("POST", "/a b", "x=1")
        assert (request["root_path"], request["body"]) == ("", "hello")

    async def test_the_path_form_reaches_it_too(self):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo)

            async with gateway.http.get(f"{gateway.url}/{LABEL}/a?x=1") as response:
                request = await response.json()

        assert (request["path"], request["root_path"], request["query"]) == (f"/{LABEL}/a", f"/{LABEL}", "x=1")

    @pytest.mark.parametrize("kind", [WebKind.FUNCTION, WebKind.SERVER])
    async def test_the_path_form_is_stripped_for_endpoints_of_one_function_and_servers(self, kind):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo, kind=kind)

            async with gateway.http.get(f"{gateway.url}/{LABEL}/a%2Fb") as response:
                request = await response.json()

            assert (request["path"], request["root_path"]) == ("/a/b", f"/{LABEL}")
            assert gateway.calls.calls[0].scope["raw_path"] == b"/a%2Fb"

    async def test_in_the_path_form_a_framework_routes_mounts_and_builds_urls_as_on_a_host_of_its_own(self):
        async def where(request):
            return PlainTextResponse(f"{request.url.path} {request.url_for('mounted', path='/').path}")

        app = Starlette(routes=[Route("/x", where), Mount("/sub", routes=[Route("/x", where)], name="mounted")])
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, app)

            async with gateway.http.get(f"{gateway.url}/{LABEL}/x") as plain, gateway.http.get(f"{gateway.url}/{LABEL}/sub/x") as mounted:
                assert await plain.text() == f"/{LABEL}/x /{LABEL}/sub/"
                assert await mounted.text() == f"/{LABEL}/sub/x /{LABEL}/sub/"

    @pytest.mark.parametrize(
        ("kind", "name", "path", "inner"),
        [
            (WebKind.FUNCTION, "predict", "/predict", "/"),
            (WebKind.FUNCTION, "predict", "/predict/", "/"),
            (WebKind.FUNCTION, "predict", "/other", "/other"),
            (WebKind.FUNCTION, "docs", "/docs", "/docs"),
            (WebKind.ASGI, "predict", "/predict", "/predict"),
        ],
    )
    async def test_an_endpoint_of_one_function_also_answers_at_its_own_name(self, kind, name, path, inner):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo, kind=kind, name=name)

            assert (await seen(gateway, path, method="POST"))["path"] == inner

    async def test_the_tutorials_endpoint_predicts_at_its_name_and_shows_its_docs(self):
        endpoint = FastAPI()

        @endpoint.post("/")
        def predict(features: dict) -> dict:
            return {"sum": sum(features["features"])}

        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, endpoint, kind=WebKind.FUNCTION, name="predict")

            assert await seen(gateway, "/predict", method="POST", json={"features": [1, 2]}) == {"sum": 3}
            async with gateway.http.post(f"{gateway.url}/{LABEL}/predict", json={"features": [1, 2]}) as response:
                assert await response.json() == {"sum": 3}
            async with gateway.request(LABEL, "/docs") as docs:
                assert "swagger" in await docs.text()


class TestHeaders:
    async def test_hop_by_hop_fields_stay_on_their_hop(self):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo)

            request = await seen(gateway, headers={"Connection": "keep-alive, X-Mine", "X-Mine": "1", "TE": "trailers", "X-Kept": "2"})

        names = {name for name, _ in request["headers"]}
        assert "x-kept" in names
        assert not names & {"connection", "x-mine", "te"}

    async def test_the_app_learns_who_asked_and_for_which_host(self):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo)

            request = await seen(gateway)

        assert request["client"][0] == "127.0.0.1"
        assert ["x-forwarded-host", f"{LABEL}.localhost:{gateway.port}"] in request["headers"]
        assert ["x-forwarded-proto", "http"] in request["headers"]

    async def test_a_proxy_on_this_machine_is_believed_about_the_last_hop_only(self):
        told = {"X-Forwarded-For": "6.6.6.6, 192.0.2.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "api.example.org"}
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo)

            request = await seen(gateway, headers=told)

        assert (request["client"][0], request["scheme"]) == ("192.0.2.7", "https")
        assert ["x-forwarded-host", "api.example.org"] in request["headers"]
        assert "x-forwarded-for" not in {name for name, _ in request["headers"]}

    async def test_it_may_say_the_last_hop_in_a_line_of_its_own(self):
        lines = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "192.0.2.7")]
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo)
            async with gateway.http.get(f"{gateway.url}/{LABEL}/", headers=lines) as response:
                assert (await response.json())["client"][0] == "192.0.2.7"

    async def test_repeated_fields_and_statuses_come_back_as_sent(self):
        async def app(scope, receive, send):
            headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"connection", b"close"), (b"date", b"long ago")]
            await send({"type": "http.response.start", "status": 201, "headers": headers})
            await body(send, b"made", more=False)

        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, app)

            async with gateway.request(LABEL) as response:
                assert response.status == 201
                assert response.headers.getall("Set-Cookie") == ["a=1", "b=2"]
                assert "Connection" not in response.headers
                assert response.headers.getall("Date") != ["long ago"]

    async def test_how_an_app_writes_the_names_of_its_fields_does_not_matter(self):
        async def shouting(scope, receive, send):
            fields = [(b"Content-Length", b"2"), (b"Connection", b"close"), (b"Date", b"then")]
            await send({"type": "http.response.start", "status": 200, "headers": fields})
            await body(send, b"ok", more=False)

        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, shouting)
            async with gateway.request(LABEL) as response:
                assert await response.read() == b"ok"
                assert "transfer-encoding" not in response.headers
                assert response.headers.getall("content-length") == ["2"]
                assert "then" not in response.headers.getall("date")

    async def test_head_gets_the_headers_and_no_body(self):
        async def app(scope, receive, send):
            await start(send, content_length="5")
            await body(send, b"", more=False)

        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, app)

            async with gateway.request(LABEL, method="HEAD") as response:
                assert response.headers["Content-Length"] == "5"

    async def test_expect_100_continue_is_answered_before_the_body(self):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo)
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            head = f"POST / HTTP/1.1\r\nHost: {LABEL}.localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"

            async with asyncio.timeout(DEADLINE):
                writer.write(head.encode())
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                writer.write(b"ok")
                answer = await reader.read()
            writer.close()

        assert json.loads(answer.partition(b"\r\n\r\n")[2])["body"] == "ok"


class TestStreaming:
    async def test_each_chunk_arrives_before_the_next_is_made(self):
        app = Stepwise()
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, app)

            async with gateway.request(LABEL) as response:
                for number in range(3):
                    app.say(b"data: %d\n\n" % number)
                    assert await response.content.readuntil(b"\n\n") == b"data: %d\n\n" % number
                app.end()
                assert await response.read() == b""

    async def test_the_app_reads_the_first_part_while_the_caller_still_makes_the_second(self):
        app = Upload()

        async def parts() -> AsyncIterator[bytes]:
            yield b"first"
            assert await app.sizes.get() == len(b"first")
            yield b"second"

        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, app)

            assert await seen(gateway, method="PUT", data=parts()) == len(b"firstsecond")

    async def test_a_caller_slow_with_its_body_does_not_keep_the_container_waiting_for_a_first_message(self):
        app = Upload()
        async with a_gateway() as gateway, asyncio.timeout(DEADLINE):
            gateway.calls.deploy(LABEL, app)
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)

            writer.write(f"PUT / HTTP/1.1\r\nHost: {LABEL}.localhost\r\nContent-Length: 4\r\nConnection: close\r\n\r\n".encode())
            assert await app.sizes.get() == 0
            writer.write(b"late")

            assert (await reader.read()).endswith(b"1\r\n4\r\n0\r\n\r\n")
            writer.close()

    async def test_large_uploads_pass_in_bounded_messages(self):
        app, size = Upload(), 20 * MAX_CHUNK_BYTES
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, app)

            assert await seen(gateway, method="PUT", data=BytesIO(bytes(size))) == size
            call = gateway.calls.calls[0]

        assert max(len(message["body"]) for message in call.received) <= MAX_CHUNK_BYTES

    async def test_an_app_that_does_not_read_holds_the_caller_back(self):
        """What is on the way is bounded by the buffers of two sockets, not by the size of the upload."""
        offered = 0

        async def parts() -> AsyncIterator[bytes]:
            nonlocal offered
            for _ in range(64):
                offered += MAX_CHUNK_BYTES
                yield bytes(MAX_CHUNK_BYTES)

        async with a_gateway(http_request_timeout=0.2) as gateway:
            gateway.calls.deploy(LABEL, silent)

            async with gateway.request(LABEL, method="PUT", data=parts()) as response:
                offered_until_refused = offered

        assert response.status == 504
        assert offered_until_refused < 32 * MAX_CHUNK_BYTES

    async def test_a_large_response_comes_whole(self):
        size = 20 * MAX_CHUNK_BYTES

        async def app(scope, receive, send):
            await start(send, content_length=str(size))
            for _ in range(20):
                await body(send, bytes(MAX_CHUNK_BYTES))
            await body(send, b"", more=False)

        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, app)

            async with gateway.request(LABEL) as response:
                assert len(await response.read()) == size

    async def test_an_answer_before_the_end_of_the_upload_is_an_answer(self):
        async def app(scope, receive, send):
            await start(send, status=413)
            await body(send, b"too much", more=False)

        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, app)

            async with gateway.request(LABEL, method="PUT", data=BytesIO(bytes(4 * MAX_CHUNK_BYTES))) as response:
                assert (response.status, await response.text()) == (413, "too much")

    async def test_many_requests_at_once_are_each_answered_with_their_own(self):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo)
            answers = {}

            async def ask(number: int) -> None:
                answers[number] = (await seen(gateway, f"/{number}", method="POST", data=str(number).encode()))["body"]

            async with anyio.create_task_group() as group:
                for number in range(100):
                    group.start_soon(ask, number)

        assert answers == {number: str(number) for number in range(100)}


class TestDepartures:
    async def test_a_caller_who_leaves_is_told_to_the_app_and_ends_its_input(self):
        app = Stepwise()
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, app)

            async with gateway.request(LABEL) as response:
                app.say(b"x")
                await response.content.readexactly(1)
                response.close()
            with anyio.fail_after(DEADLINE):
                await gateway.calls.calls[0].ended.wait()

            assert gateway.calls.calls[0].is_cancelled
            assert app.client_left.is_set()

    async def test_a_caller_who_leaves_before_the_answer_ends_its_input(self):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, silent)

            await _ask_and_leave(gateway)
            with anyio.fail_after(DEADLINE):
                await (await gateway.calls.first()).ended.wait()

            assert gateway.calls.calls[0].is_cancelled

    async def test_a_completed_request_is_not_cancelled(self):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo)

            await seen(gateway)

            assert not gateway.calls.calls[0].is_cancelled


async def _ask_and_leave(gateway: RunningGateway) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"GET / HTTP/1.1\r\nHost: {LABEL}.localhost\r\n\r\n".encode())
    await writer.drain()
    writer.close()


class TestFailures:
    async def test_an_app_that_is_not_there_is_a_404_that_says_how_to_see_those_that_are(self):
        async with a_gateway() as gateway, gateway.request("local--nobody") as response:
            answer = await response.json()

        assert (response.status, answer["error"]) == (404, "not_found")
        assert "local--nobody" in answer["detail"]
        assert "modal app list" in answer["hint"]

    async def test_a_browser_reads_the_same_as_a_page(self):
        async with a_gateway() as gateway, gateway.request("local--nobody", headers={"Accept": "text/html,*/*"}) as response:
            assert response.content_type == "text/html"
            assert "&#x27;local--nobody&#x27;" in await response.text()

    @pytest.mark.parametrize(
        ("error", "status", "word"),
        [
            (Unavailable("No container could start: `modal app logs iris` says why."), 502, "container_failed"),
            (DeadlineExceeded("The function's timeout of 1 s has passed."), 504, "timeout"),
            (NotSupported("WebSockets are not built."), 501, "not_supported"),
            (RuntimeError("a bug of the user's"), 502, "container_failed"),
        ],
    )
    async def test_a_container_that_fails_before_its_answer_is_told_with_its_reason(self, error, status, word):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, failing(error))

            async with gateway.request(LABEL) as response:
                answer = await response.json()

        assert (response.status, answer["error"]) == (status, word)
        assert str(error) in answer["detail"]

    async def test_a_full_engine_says_when_to_come_back(self):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, failing(ResourceExhausted("1,000 inputs are waiting.")))

            async with gateway.request(LABEL) as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "1")

    async def test_an_app_that_does_not_answer_in_time_is_a_504_and_its_input_ends(self):
        async with a_gateway(http_request_timeout=0.2) as gateway:
            gateway.calls.deploy(LABEL, silent)

            async with gateway.request(LABEL) as response:
                answer = await response.json()

            assert (response.status, answer["error"]) == (504, "timeout")
            assert "FREEHOLD_HTTP_REQUEST_TIMEOUT" in answer["detail"]
            assert gateway.calls.calls[0].is_cancelled

    async def test_half_a_response_never_looks_like_a_whole_one(self):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, breaking_off(Unavailable("The container ran out of memory.")))

            async with gateway.request(LABEL) as response:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await response.read()

    async def test_an_app_that_ends_without_a_word_is_a_502(self):
        async def app(scope, receive, send):
            return

        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, app)

            async with gateway.request(LABEL) as response:
                assert response.status == 502
                assert "without a response" in (await response.json())["detail"]

    async def test_an_app_that_breaks_http_is_a_502(self):
        async def app(scope, receive, send):
            await start(send, status=99)

        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, app)

            async with gateway.request(LABEL) as response:
                assert response.status == 502
                assert "status 99" in (await response.json())["detail"]

    @pytest.mark.parametrize("value", [b"a\r\nSet-Cookie: b=c", b"a\nSet-Cookie: b=c"])
    async def test_a_field_does_not_become_two(self, value):
        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x-mine", value)]})
            await body(send, b"", more=False)

        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, app)
            async with gateway.request(LABEL) as response:
                assert response.status == 502
                assert "Set-Cookie" not in response.headers

    async def test_an_error_of_our_own_shows_an_id_and_nothing_else(self, capsys):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo)
            gateway.calls.open = failing(RuntimeError("secret"))

            async with gateway.request(LABEL) as response:
                answer = await response.json()

        assert (response.status, answer["error"]) == (500, "internal")
        assert "secret" not in json.dumps(answer)

    async def test_a_request_that_is_no_http_is_refused(self):
        async with a_gateway() as gateway:
            assert (await raw(gateway, "NONSENSE\n\n")).startswith("HTTP/1.1 400")

    async def test_the_connection_lives_on_after_an_error(self):
        async with a_gateway() as gateway:
            gateway.calls.deploy(LABEL, echo)
            first = "GET / HTTP/1.1\nHost: local--nobody.localhost\n\n"
            second = f"GET / HTTP/1.1\nHost: {LABEL}.localhost\nConnection: close\n\n"

            answer = await raw(gateway, first + second)

        assert answer.startswith("HTTP/1.1 404")
        assert "HTTP/1.1 200" in answer
