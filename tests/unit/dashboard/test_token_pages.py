"""Tokens in the dashboard: whoever is logged in confirms and revokes; nobody else."""

import re
from types import SimpleNamespace

import pytest
from fakes.clock import FakeClock
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from freehold.control.services.journal import Journal
from freehold.control.services.token_flows import TokenFlows
from freehold.control.services.tokens import Tokens
from freehold.dashboard.access import ROOT, Access
from freehold.dashboard.doors import Doors
from freehold.dashboard.guard import Guard
from freehold.dashboard.tokens import TokenPages
from freehold.dashboard.views import Views
from freehold.store.keyring import Keyring
from freehold.store.memory.store import MemoryStore

HOST = "http://127.0.0.1:8980"


@pytest.fixture
def keyring(tmp_path):
    return Keyring.open(tmp_path)


@pytest.fixture
def parts(keyring):
    clock = FakeClock()
    store = MemoryStore()
    tokens = Tokens(store=store, keyring=keyring, clock=clock)
    journal = Journal(store=store, clock=clock)

    async def no_proxy_tokens():
        return []

    async def events(subject, limit):
        await journal.flush()
        async with store.transaction() as tx:
            return await tx.events.latest(subject, limit)

    return SimpleNamespace(
        tokens=tokens,
        token_flows=TokenFlows(tokens=tokens, clock=clock),
        proxy_tokens=SimpleNamespace(list=no_proxy_tokens),
        stories=SimpleNamespace(events=events),
        journal=journal,
        clock=clock,
    )


@pytest.fixture
def visitor(parts, keyring):
    access = Access(keyring=keyring, tokens=parts.tokens, clock=parts.clock)
    views = Views({"workspace": "local", "version": "0"})
    inner = Starlette(routes=[*Doors(access, views, parts.journal).routes, *TokenPages(parts, views).routes])
    app = Starlette(routes=[Mount(ROOT, Guard(inner, access=access, domain="localhost"))])
    return TestClient(app, base_url=HOST, headers={"Accept": "text/html", "Origin": HOST}, follow_redirects=False)


@pytest.fixture
def csrf(visitor, keyring):
    fields = {"token_id": keyring.token_id, "token_secret": keyring.token_secret}
    assert visitor.post(f"{ROOT}/login", data=fields).status_code == 303
    return re.search(r'name="csrf" value="(\w+)"', visitor.get(f"{ROOT}/tokens").text)[1]


def test_who_is_logged_in_confirms_with_the_code_alone(visitor, csrf, parts):
    flow = parts.token_flows.begin()

    assert visitor.post(f"{ROOT}/tokens/confirm", data={"csrf": csrf, "code": flow.code, "name": "laptop"}).status_code == 303

    assert flow.is_confirmed
    assert flow.name == "laptop"


async def test_tokens_are_listed_without_their_secrets_and_revoked(visitor, csrf, parts):
    token, secret = await parts.tokens.create("ci")
    shown = visitor.get(f"{ROOT}/tokens").text
    assert token.id in shown
    assert secret not in shown

    assert visitor.post(f"{ROOT}/tokens/{token.id}/revoke", data={"csrf": csrf}).status_code == 303

    assert not parts.tokens.accepts(token.id, secret)
    shown = visitor.get(f"{ROOT}/tokens").text
    assert "session_begun" in shown
    assert "token_revoked" in shown
    assert "the owner, in the dashboard" in shown


def test_nobody_else_confirms(visitor, parts):
    flow = parts.token_flows.begin()

    answer = visitor.post(f"{ROOT}/tokens/confirm", data={"code": flow.code}, headers={"Referer": f"{HOST}{ROOT}/tokens"})

    assert answer.headers["location"] == f"{ROOT}/login?next=%2Fdash%2Ftokens"
    assert not flow.is_confirmed


def test_a_page_of_another_site_confirms_nothing(visitor, csrf, parts):
    flow = parts.token_flows.begin()
    data = {"csrf": csrf, "code": flow.code}

    assert visitor.post(f"{ROOT}/tokens/confirm", data=data, headers={"Origin": "http://evil.example"}).status_code == 403

    assert not flow.is_confirmed
