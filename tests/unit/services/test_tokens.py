"""Clients' tokens: who comes in, with what, and until when."""

import pytest
from fakes.clock import FakeClock

from freehold.control.caller import Caller
from freehold.control.services.tokens import Tokens, check_client
from freehold.domain.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from freehold.domain.ids import TaskId, is_id
from freehold.store.keyring import Keyring
from freehold.store.memory.store import MemoryStore

DAY = 24 * 3600


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def keyring(tmp_path):
    return Keyring.open(tmp_path)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def tokens(store, keyring, clock):
    return Tokens(store=store, keyring=keyring, clock=clock)


async def test_a_token_comes_in_with_its_secret_only(tokens):
    token, secret = await tokens.create("ci")
    assert is_id(token.id, "ak")
    assert is_id(secret, "as")
    assert tokens.accepts(token.id, secret)
    assert tokens.accepts_pair(f"{token.id}:{secret}")
    assert not tokens.accepts(token.id, secret + "x")
    assert not tokens.accepts(token.id, "")
    assert not tokens.accepts("", "")


async def test_the_homes_own_comes_in_as_before(tokens, keyring):
    await tokens.create("ci")
    assert tokens.accepts(keyring.token_id, keyring.token_secret)
    assert tokens.list()[0].id == keyring.token_id


async def test_a_revoked_token_and_its_proofs_are_refused_at_once(tokens):
    token, secret = await tokens.create("ci")
    proof = tokens.proof_of(Caller(token_id=token.id))
    assert tokens.admits(proof)

    await tokens.revoke(token.id)

    assert not tokens.accepts(token.id, secret)
    assert not tokens.admits(proof)
    with pytest.raises(NotFound, match="freehold tokens"):
        await tokens.revoke(token.id)


async def test_the_homes_own_stays_and_gets_another_secret(tokens, keyring, tmp_path):
    old, proof = keyring.token_secret, tokens.proof_of(Caller(token_id=keyring.token_id))
    other, secret = await tokens.create("ci")

    await tokens.revoke(keyring.token_id)

    assert not tokens.accepts(keyring.token_id, old)
    assert not tokens.admits(proof)
    assert tokens.accepts(keyring.token_id, Keyring.open(tmp_path).token_secret)
    assert tokens.accepts(other.id, secret), "others are not concerned"


async def test_a_token_ends_when_it_was_said_to(tokens, clock, store):
    token, secret = await tokens.create("", DAY)
    clock.move(DAY - 1)
    assert tokens.accepts(token.id, secret)
    clock.move(1)
    assert not tokens.accepts(token.id, secret)

    await tokens.step()

    async with store.transaction() as tx:
        assert await tx.tokens.list() == []


async def test_a_life_that_nobody_can_mean_is_refused(tokens):
    with pytest.raises(InvalidRequest, match="3650 days"):
        await tokens.create("", 2**32 - 1)


async def test_a_disabled_token_is_refused_until_it_is_enabled(tokens, keyring):
    token, secret = await tokens.create("")
    await tokens.enable([token.id], is_enabled=False)
    assert not tokens.accepts(token.id, secret)
    await tokens.enable([token.id, keyring.token_id], is_enabled=True)
    assert tokens.accepts(token.id, secret)


async def test_the_homes_own_cannot_be_disabled_and_then_nothing_is(tokens, keyring):
    token, secret = await tokens.create("")
    with pytest.raises(Conflict, match="freehold"):
        await tokens.enable([token.id, keyring.token_id], is_enabled=False)
    assert tokens.accepts(token.id, secret)


async def test_tokens_and_their_last_use_outlive_the_engine_and_their_secrets_are_nowhere(store, keyring, tokens, clock):
    token, secret = await tokens.create("ci")
    tokens.accepts(token.id, secret)
    await tokens.step()

    later = Tokens(store=store, keyring=keyring, clock=clock)
    assert not later.accepts(token.id, secret)
    await later.restore()

    assert later.list()[1].last_used_at == clock.now()
    assert later.accepts(token.id, secret)
    assert secret not in repr(later.list())


async def test_what_was_used_and_revoked_meanwhile_stays_revoked(tokens, store):
    token, secret = await tokens.create("")
    tokens.accepts(token.id, secret)
    await tokens.revoke(token.id)
    await tokens.step()
    async with store.transaction() as tx:
        assert await tx.tokens.list() == []


def test_containers_manage_no_tokens():
    check_client(Caller(token_id="ak-1"))
    with pytest.raises(PermissionDenied):
        check_client(Caller(task_id=TaskId("ta-1")))
