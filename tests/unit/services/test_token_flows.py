"""Requests for tokens: who confirms them, how often one may guess, and who gets what comes of it."""

import asyncio

import pytest
from fakes.clock import FakeClock

from freehold.control.services.token_flows import LIFE, TokenFlows
from freehold.control.services.tokens import Tokens
from freehold.domain.errors import NotFound, PermissionDenied, ResourceExhausted
from freehold.domain.tokens import as_typed
from freehold.store.keyring import Keyring
from freehold.store.memory.store import MemoryStore


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def tokens(tmp_path, clock):
    return Tokens(store=MemoryStore(), keyring=Keyring.open(tmp_path), clock=clock)


@pytest.fixture
def flows(tokens, clock):
    return TokenFlows(tokens=tokens, clock=clock)


async def test_a_client_gets_its_token_once_the_owner_confirms(flows, tokens):
    flow = flows.begin()
    assert await flows.wait(flow.id, flow.wait_secret, 0) is None

    flows.confirm_as_owner(flow.code.lower().replace("-", ""), "laptop")

    token, secret = await flows.wait(flow.id, flow.wait_secret, 0)
    assert token.name == "laptop"
    assert tokens.accepts(token.id, secret)


async def test_whoever_waits_is_woken_by_the_confirmation(flows):
    flow = flows.begin()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        waiting = group.create_task(flows.wait(flow.id, flow.wait_secret, 30))
        await asyncio.sleep(0)
        flows.confirm_as_owner(flow.code)
    assert waiting.result() is not None


async def test_a_token_is_told_once_and_only_to_the_client_that_asked(flows):
    flow = flows.begin()
    flows.confirm_as_owner(flow.code)
    with pytest.raises(PermissionDenied):
        await flows.wait(flow.id, "another", 0)
    assert await flows.wait(flow.id, flow.wait_secret, 0)
    with pytest.raises(NotFound, match="modal token new"):
        await flows.wait(flow.id, flow.wait_secret, 0)


async def test_a_one_time_code_confirms_one_request(flows):
    first, second, code = flows.begin(), flows.begin(), flows.one_time_code()
    assert flows.confirm(first.id, code=first.code, proof=code).is_confirmed
    with pytest.raises(PermissionDenied, match="4 more tries"):
        flows.confirm(second.id, code=second.code, proof=code)
    assert not second.is_confirmed


async def test_a_token_of_the_engine_confirms_as_often_as_it_likes(flows, tokens):
    token, secret = await tokens.create()
    for flow in (flows.begin(), flows.begin()):
        assert flows.confirm(flow.id, code=flow.code, proof=f" {token.id}:{secret} ").is_confirmed


async def test_nobody_confirms_without_the_code_that_the_client_shows(flows):
    flow = flows.begin()
    with pytest.raises(PermissionDenied, match="not the code"):
        flows.confirm(flow.id, code="AAAA-AAAA", proof=flows.one_time_code())
    with pytest.raises(NotFound):
        flows.confirm_as_owner("AAAA-AAAA")
    assert flows.waiting() == [flow]


@pytest.mark.parametrize("proof", ["", "AAAA-AAAA", "ak-1:as-1", ":", "ak-1"])
async def test_guesses_end_the_request(flows, proof):
    flow = flows.begin()
    for _ in range(4):
        with pytest.raises(PermissionDenied, match="more tr"):
            flows.confirm(flow.id, code=flow.code, proof=proof)
    with pytest.raises(PermissionDenied, match="last try"):
        flows.confirm(flow.id, code=flow.code, proof=proof)
    with pytest.raises(NotFound):
        flows.get(flow.id)


async def test_many_wrong_codes_end_those_that_were_given(flows):
    code = flows.one_time_code()
    for _ in range(4):
        flow = flows.begin()
        for _ in range(5):
            with pytest.raises(PermissionDenied):
                flows.confirm(flow.id, code=flow.code, proof="AAAA-AAAA")
    flow = flows.begin()
    with pytest.raises(PermissionDenied):
        flows.confirm(flow.id, code=flow.code, proof=code)


async def test_requests_and_codes_end_by_themselves(flows, clock):
    flow, code = flows.begin(), flows.one_time_code()
    clock.move(LIFE.total_seconds())
    with pytest.raises(NotFound):
        await flows.wait(flow.id, flow.wait_secret, 0)
    later = flows.begin()
    with pytest.raises(PermissionDenied):
        flows.confirm(later.id, code=later.code, proof=code)


async def test_there_are_only_so_many(flows):
    for _ in range(100):
        flows.begin()
    with pytest.raises(ResourceExhausted):
        flows.begin()
    for _ in range(20):
        flows.one_time_code()
    with pytest.raises(ResourceExhausted):
        flows.one_time_code()


async def test_the_token_lives_as_long_as_its_client_asked(flows, clock):
    flow = flows.begin(3600)
    flows.confirm_as_owner(flow.code)
    token, _ = await flows.wait(flow.id, flow.wait_secret, 0)
    assert (token.expires_at - clock.now()).total_seconds() == 3600


def test_codes_are_read_however_they_are_typed():
    assert as_typed(" abcd 2345 ") == as_typed("ABCD-2345") == "ABCD-2345"
