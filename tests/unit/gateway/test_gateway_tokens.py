"""The page on which a token is confirmed."""

import pytest
from fakes.clock import FakeClock
from fakes.gateway import a_gateway

from freehold.control.services.token_flows import TokenFlows
from freehold.control.services.tokens import Tokens
from freehold.gateway.tokens import TokenRoutes
from freehold.store.keyring import Keyring
from freehold.store.memory.store import MemoryStore


@pytest.fixture
def flows(tmp_path):
    clock = FakeClock()
    return TokenFlows(tokens=Tokens(store=MemoryStore(), keyring=Keyring.open(tmp_path), clock=clock), clock=clock)


async def test_the_owner_confirms_with_both_codes(flows):
    flow = flows.begin()
    async with a_gateway(routes=TokenRoutes(flows).routes) as gateway:
        url = f"{gateway.url}/_freehold/tokens/{flow.id}"
        async with gateway.http.get(url) as shown:
            text = await shown.text()
            assert shown.status == 200
            assert flow.code not in text, "whoever has only the link must not see it"
            assert "frame-ancestors 'none'" in shown.headers["Content-Security-Policy"]
            assert shown.headers["Cache-Control"] == "no-store"
        async with gateway.http.post(url, data={"code": flow.code, "proof": flows.one_time_code(), "name": "laptop"}) as answered:
            assert answered.status == 200
            assert "Confirmed" in await answered.text()
    assert flow.is_confirmed
    assert flow.name == "laptop"


async def test_a_refusal_says_why_and_asks_again(flows):
    flow = flows.begin()
    async with (
        a_gateway(routes=TokenRoutes(flows).routes) as gateway,
        gateway.http.post(f"{gateway.url}/_freehold/tokens/{flow.id}", data={"code": flow.code, "proof": "<b>"}) as answered,
    ):
        text = await answered.text()
        assert answered.status == 403
        assert "freehold tokens code" in text
        assert "4 more tries" in text
        assert "<form" in text
    assert not flow.is_confirmed


@pytest.mark.parametrize("body", [b"", b"code=%ff", b"\xff\xfe", b"x" * 5000], ids=["nothing", "not text", "not UTF-8", "too much"])
async def test_what_is_no_form_confirms_nothing(flows, body):
    flow = flows.begin()
    async with (
        a_gateway(routes=TokenRoutes(flows).routes) as gateway,
        gateway.http.post(f"{gateway.url}/_freehold/tokens/{flow.id}", data=body) as answered,
    ):
        assert answered.status in (400, 403)
    assert not flow.is_confirmed


async def test_a_request_that_is_over_is_not_found(flows):
    async with (
        a_gateway(routes=TokenRoutes(flows).routes) as gateway,
        gateway.http.get(f"{gateway.url}/_freehold/tokens/tf-1", headers={"Accept": "text/html"}) as answered,
    ):
        assert answered.status == 404
        assert "modal token new" in await answered.text()
