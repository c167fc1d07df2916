"""Proxy tokens: who comes in, where, and what is kept of a secret."""

import pytest

from freehold.config import Settings
from freehold.control.services.environments import Environments
from freehold.control.services.proxy_tokens import ProxyTokens
from freehold.domain.clock import SystemClock
from freehold.domain.creation import Creation
from freehold.domain.errors import Conflict, InvalidRequest, NotFound
from freehold.domain.ids import EnvironmentId, ProxyTokenId, is_id
from freehold.store.memory.store import MemoryStore


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def environments(store):
    return Environments(store=store, clock=SystemClock(), settings=Settings())


@pytest.fixture
def tokens(store, environments):
    return ProxyTokens(store=store, environments=environments, clock=SystemClock())


async def test_a_token_comes_in_with_its_secret_only(tokens):
    token, secret = await tokens.create("webhooks")
    other, _ = await tokens.create("")
    assert is_id(token.id, "wk")
    assert is_id(secret, "ws")
    assert tokens.accepts(token.id, secret)
    assert not tokens.accepts(token.id, secret + "x")
    assert not tokens.accepts(token.id, "")
    assert not tokens.accepts(other.id, secret)
    assert not tokens.accepts("wk-nobody", "")
    assert not tokens.accepts("", "")


async def test_a_deleted_token_comes_in_no_more(tokens):
    token, secret = await tokens.create("")
    await tokens.delete(token.id)
    assert not tokens.accepts(token.id, secret)
    with pytest.raises(NotFound, match="proxy-tokens list"):
        await tokens.delete(token.id)


async def test_tokens_outlive_the_engine_and_their_secrets_are_nowhere(store, environments, tokens):
    token, secret = await tokens.create("")
    later = ProxyTokens(store=store, environments=environments, clock=SystemClock())
    assert not later.accepts(token.id, secret)
    await later.restore()
    assert later.accepts(token.id, secret)
    assert secret not in repr(await later.list())


async def test_a_token_opens_every_environment_until_it_is_allowed_in_some(tokens, environments):
    main, prod = await environments.get(""), await environments.get_or_create("prod", Creation.MUST_BE_NEW)
    token, secret = await tokens.create("")
    assert tokens.accepts(token.id, secret, main.id)

    await tokens.allow(token.id, prod.id)

    assert tokens.accepts(token.id, secret, prod.id)
    assert not tokens.accepts(token.id, secret, main.id)
    assert [found.id for found in await tokens.list_for("prod")] == [token.id]
    assert await tokens.list_for("main") == []


async def test_a_scoped_token_whose_last_environment_is_revoked_opens_nothing(tokens, environments):
    main = await environments.get("")
    token, secret = await tokens.create("")
    await tokens.allow(token.id, main.id)
    await tokens.revoke(token.id, main.id)
    assert not tokens.accepts(token.id, secret, main.id)


async def test_nothing_can_be_revoked_of_a_token_that_opens_everything(tokens, environments):
    token, _ = await tokens.create("")
    with pytest.raises(Conflict, match="proxy-tokens allow"):
        await tokens.revoke(token.id, (await environments.get("")).id)


async def test_a_token_is_allowed_only_where_there_is_an_environment(tokens):
    token, secret = await tokens.create("")
    with pytest.raises(NotFound, match="environment list"):
        await tokens.allow(token.id, EnvironmentId("en-nowhere"))
    assert tokens.accepts(token.id, secret), "it is not scoped by a failed try"


async def test_a_name_can_be_given_and_taken(tokens):
    token, _ = await tokens.create("first")
    assert (await tokens.rename(token.id, "")).name == ""
    with pytest.raises(InvalidRequest, match="one line"):
        await tokens.rename(token.id, "two\nlines")
    with pytest.raises(NotFound):
        await tokens.rename(ProxyTokenId("wk-nobody"), "x")
