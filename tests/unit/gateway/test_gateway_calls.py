"""The HTTP side of calls in JSON and of the question which hosts exist, over a real gateway."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from fakes.gateway import a_gateway

from freehold.domain.errors import NotFound
from freehold.domain.ids import CallId, new_call_id
from freehold.domain.json_calls import Fate, NotJson, Outcome
from freehold.gateway.ask import AskRoutes
from freehold.gateway.call_api import MAX_BODY_BYTES, CallRoutes

DONE = Outcome(fate=Fate.DONE, content=b'{"answer":42}')
TOKEN = {"Authorization": "Bearer right"}
EXPIRY = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class FakeCall:
    id: CallId = field(default_factory=new_call_id)
    told: Outcome | None = DONE
    yields: tuple[bytes, ...] = ()
    breaks: bool = False
    is_generator: bool = False
    is_kept: bool = False
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def outcome(self, patience: float, *, bytes_as_base64: bool = False) -> Outcome | None:
        if self.told is None:
            await asyncio.sleep(patience)
        return self.told

    async def values(self, *, bytes_as_base64: bool = False) -> AsyncIterator[bytes]:
        for value in self.yields:
            yield value
        if self.breaks:
            msg = "The result has bytes."
            raise NotJson(msg)

    async def cancel(self) -> None:
        self.cancelled.set()


@dataclass
class FakeCalls:
    call: FakeCall = field(default_factory=FakeCall)
    asked: list[dict[str, object]] = field(default_factory=list)

    async def start(self, **wanted: object) -> FakeCall:
        self.asked.append(wanted)
        return self.call

    async def find(self, call_id: CallId) -> FakeCall:
        if call_id != self.call.id:
            msg = "No such call."
            raise NotFound(msg)
        return self.call

    def expiry(self) -> datetime:
        return EXPIRY

    def admits(self, token: str) -> bool:
        return token == "right"


@asynccontextmanager
async def serving(call=None, patience=timedelta(seconds=5)):
    calls = FakeCalls(call or FakeCall())
    async with a_gateway(routes=CallRoutes(calls, calls, patience=patience).routes) as gateway:
        gateway.http.headers.update(TOKEN)
        yield gateway, calls


async def test_what_is_asked_for_is_taken_from_path_query_and_headers():
    async with serving() as (gateway, calls):
        url = f"{gateway.url}/call/shop/Model.predict?environment=prod"
        async with gateway.http.post(url, data=b"[1]", headers={"Idempotency-Key": "k", "traceparent": "00-1"}) as response:
            assert (response.status, await response.json()) == (200, {"answer": 42})
            assert response.headers["modal-function-call-id"] == calls.call.id
    (asked,) = calls.asked
    assert asked == {
        "environment": "prod",
        "app": "shop",
        "function": "Model.predict",
        "body": b"[1]",
        "is_async": False,
        "key": "k",
        "traceparent": "00-1",
    }


@pytest.mark.parametrize(("fate", "status"), [("FAILED", 500), ("TIMED_OUT", 504), ("CANCELLED", 409), ("NOT_JSON", 422), ("BROKEN", 502)])
async def test_each_fate_has_its_status(fate, status):
    raised = {"type": "ValueError", "message": "no", "traceback": "…"}
    call = FakeCall(told=Outcome(fate=Fate[fate], detail="why", raised=raised))
    async with serving(call) as (gateway, _), gateway.http.post(f"{gateway.url}/call/shop/f") as response:
        assert response.status == status
        assert await response.json() == {"error": Fate[fate], "detail": "why", "exception": raised}


async def test_without_the_token_nothing_is_asked():
    async with serving() as (gateway, calls):
        for authorization in ("Bearer wrong", "right", "Basic right", ""):
            headers = {"Authorization": authorization}
            async with gateway.http.post(f"{gateway.url}/call/shop/f", headers=headers) as response:
                assert response.status == 401
                assert response.headers["www-authenticate"] == 'Bearer realm="freehold"'
    assert calls.asked == []


async def test_a_body_beyond_the_limit_is_refused_and_calls_nothing():
    body = io.BytesIO(b" " * (MAX_BODY_BYTES + 1))
    async with serving() as (gateway, calls), gateway.http.post(f"{gateway.url}/call/shop/f", data=body) as response:
        assert response.status == 413
    assert calls.asked == []


async def test_a_call_that_takes_longer_than_callers_wait_is_cancelled():
    async with serving(FakeCall(told=None), patience=timedelta(seconds=0.05)) as (gateway, calls):
        async with gateway.http.post(f"{gateway.url}/call/shop/f") as response:
            assert response.status == 504
            assert "async=1" in (await response.json())["detail"]
        assert calls.call.cancelled.is_set()


async def test_one_with_a_key_goes_on_and_can_be_asked_for():
    async with serving(FakeCall(told=None, is_kept=True), patience=timedelta(seconds=0.05)) as (gateway, calls):
        async with gateway.http.post(f"{gateway.url}/call/shop/f", headers={"Idempotency-Key": "k"}) as response:
            assert response.status == 202
            assert response.headers["location"].startswith(f"/call/{calls.call.id}")
        assert not calls.call.cancelled.is_set()


async def test_a_caller_who_leaves_ends_its_call():
    async with serving(FakeCall(told=None)) as (gateway, calls):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), gateway.http.post(f"{gateway.url}/call/shop/f"):
                pass
        async with asyncio.timeout(30):
            await calls.call.cancelled.wait()


async def test_an_asynchronous_call_is_told_where_to_ask():
    async with serving(FakeCall(told=None, is_kept=True)) as (gateway, calls):
        headers = {"X-Forwarded-Proto": "https", "Host": "calls.example.com"}
        async with gateway.http.post(f"{gateway.url}/call/shop/f?async=1", headers=headers) as response:
            assert response.status == 202
            path = f"/call/{calls.call.id}?expires={int(EXPIRY.timestamp())}"
            assert response.headers["location"] == path
            assert await response.json() == {
                "call_id": calls.call.id,
                "status": "running",
                "url": f"https://calls.example.com{path}",
            }
        calls.call.told = DONE
        async with gateway.http.get(gateway.url + path) as response:
            assert (response.status, await response.json()) == (200, {"answer": 42})
        async with gateway.http.delete(f"{gateway.url}/call/{calls.call.id}") as response:
            assert response.status == 204


@pytest.mark.parametrize(("path", "status"), [("", 404), ("?expires=1", 410), ("?expires=99999999999", 404), ("?expires=x", 400)])
async def test_an_unknown_call_was_kept_once_or_never(path, status):
    async with serving() as (gateway, _), gateway.http.get(f"{gateway.url}/call/{new_call_id()}{path}") as response:
        assert response.status == status


@pytest.mark.parametrize("query", ["asinc=1", "bytes=hex"])
async def test_a_parameter_that_is_not_known_is_refused(query):
    async with serving() as (gateway, _), gateway.http.post(f"{gateway.url}/call/shop/f?{query}") as response:
        assert response.status == 400


class TestGenerators:
    async def test_values_become_an_array(self):
        call = FakeCall(is_generator=True, yields=(b"1", b'"two"'), told=Outcome(fate=Fate.DONE))
        async with serving(call) as (gateway, _), gateway.http.post(f"{gateway.url}/call/shop/f") as response:
            assert await response.json() == [1, "two"]

    async def test_a_value_that_is_no_json_is_told(self):
        call = FakeCall(is_generator=True, yields=(b"1",), breaks=True)
        async with serving(call) as (gateway, _), gateway.http.post(f"{gateway.url}/call/shop/f") as response:
            assert response.status == 422

    async def test_values_come_as_lines_where_asked_for(self):
        call = FakeCall(is_generator=True, yields=(b"1", b'"two"'), told=Outcome(fate=Fate.DONE))
        lines = {"Accept": "application/x-ndjson"}
        async with serving(call) as (gateway, _), gateway.http.post(f"{gateway.url}/call/shop/f", headers=lines) as response:
            assert await response.text() == '1\n"two"\n'
        assert not call.cancelled.is_set()

    async def test_a_caller_who_leaves_ends_the_generator(self):
        call = FakeCall(is_generator=True, yields=(b"1",), told=None)
        async with serving(call) as (gateway, _):
            async with gateway.http.post(f"{gateway.url}/call/shop/f", headers={"Accept": "application/x-ndjson"}) as response:
                assert await response.content.readline() == b"1\n"
            async with asyncio.timeout(30):
                await call.cancelled.wait()


@dataclass
class FakeHosts:
    known: str

    def answers_at(self, host: str) -> bool:
        return host == self.known


async def test_a_proxy_is_told_which_hosts_exist():
    async with a_gateway(routes=AskRoutes(FakeHosts("api.example.com")).routes) as gateway:
        for query, status in (("?domain=api.example.com", 200), ("?domain=other.example.com", 404), ("", 404)):
            async with gateway.http.get(f"{gateway.url}/_freehold/domains{query}") as response:
                assert response.status == status
