"""Who gets in: by the token, by a link once, and for how long; and what the guard lets nobody do."""

import re
from urllib.parse import urlencode

import pytest
from fakes.clock import FakeClock
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from freehold.control.services.journal import Journal
from freehold.control.services.tokens import Tokens
from freehold.dashboard.access import COOKIE, LINK_LIFE, ROOT, Access
from freehold.dashboard.doors import Doors
from freehold.dashboard.guard import FORM, SESSION, Guard
from freehold.dashboard.views import Views
from freehold.store.keyring import Keyring
from freehold.store.memory.store import MemoryStore

HOST = "http://127.0.0.1:8980"
FROM_HERE = {"Origin": HOST}


@pytest.fixture
def keyring(tmp_path):
    return Keyring.open(tmp_path)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def tokens(keyring, clock):
    return Tokens(store=MemoryStore(), keyring=keyring, clock=clock)


@pytest.fixture
def access(keyring, tokens, clock):
    return Access(keyring=keyring, tokens=tokens, clock=clock)


@pytest.fixture
def visitor(access, clock):
    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"csrf={request.scope[SESSION].csrf}")

    async def change(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{request.scope[SESSION].actor} wants {request.scope[FORM]['what']}")

    views = Views({"workspace": "local", "version": "0"})
    inner = Starlette(
        routes=[
            *Doors(access, views, Journal(store=MemoryStore(), clock=clock)).routes,
            Route("/", page),
            Route("/change", change, methods=["POST"]),
        ]
    )
    app = Starlette(routes=[Mount(ROOT, Guard(inner, access=access, domain="localhost"))])
    return TestClient(app, base_url=HOST, headers={"Accept": "text/html"}, follow_redirects=False)


def log_in(visitor, keyring, **fields):
    fields = {"token_id": keyring.token_id, "token_secret": keyring.token_secret, **fields}
    return visitor.post(f"{ROOT}/login", data=fields, headers=FROM_HERE)


def csrf_of(visitor):
    return re.search("csrf=(.*)", visitor.get(f"{ROOT}/").text)[1]


class TestTokens:
    def test_without_one_every_page_leads_to_the_login_and_comes_back_from_it(self, visitor, keyring):
        refused = visitor.get(f"{ROOT}/?from=1")
        assert (refused.status_code, refused.headers["location"]) == (303, f"{ROOT}/login?next=%2Fdash%2F%3Ffrom%3D1")

        answer = log_in(visitor, keyring, next=f"{ROOT}/?from=1")
        assert (answer.status_code, answer.headers["location"]) == (303, f"{ROOT}/?from=1")
        assert visitor.get(f"{ROOT}/").status_code == 200

    def test_programs_are_told_what_to_send(self, visitor, keyring):
        refused = visitor.get(f"{ROOT}/", headers={"Accept": "application/json"})
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="freehold"')

        token = {"Authorization": f"Bearer {keyring.token_id}:{keyring.token_secret}"}
        assert visitor.get(f"{ROOT}/", headers=token).status_code == 200
        assert visitor.post(f"{ROOT}/change", data={"what": "more"}, headers=token).status_code == 200

    @pytest.mark.parametrize("secret", ["", "as-wrong", "x" * 5000, "ä"])
    def test_a_wrong_one_is_refused_and_no_cookie_is_given(self, visitor, keyring, secret):
        answer = log_in(visitor, keyring, token_secret=secret)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        assert "does not know this token" in answer.text

    def test_the_whole_token_may_be_in_one_field(self, visitor, keyring):
        assert log_in(visitor, keyring, token_id="", token_secret=f"{keyring.token_id}:{keyring.token_secret}").status_code == 303

    def test_the_cookie_is_for_pages_only_and_for_no_script(self, visitor, keyring):
        cookie = log_in(visitor, keyring).headers["set-cookie"].lower()
        assert {"httponly", "samesite=strict", f"path={ROOT}"} <= {part.strip() for part in cookie.split(";")}
        assert "secure" not in cookie
        behind_tls = visitor.post(
            f"{ROOT}/login",
            data={"token_id": keyring.token_id, "token_secret": keyring.token_secret},
            headers=FROM_HERE | {"X-Forwarded-Proto": "https"},
        )
        assert "secure" in behind_tls.headers["set-cookie"].lower()

    def test_a_forged_cookie_is_none(self, visitor, keyring):
        log_in(visitor, keyring)
        good = visitor.cookies[COOKIE]
        visitor.cookies.clear()
        for forged in (good[:-4] + "AAAA", "x", "", keyring.sign({"op": "auth", "workspace": "local"}, LINK_LIFE)):
            assert visitor.get(f"{ROOT}/", headers={"Cookie": f"{COOKIE}={forged}"}).status_code == 303

    def test_a_session_that_was_ended_is_over_also_for_who_kept_its_cookie(self, visitor, keyring):
        log_in(visitor, keyring)
        cookie = visitor.cookies[COOKIE]
        assert visitor.post(f"{ROOT}/logout", data={"csrf": csrf_of(visitor)}, headers=FROM_HERE).status_code == 303
        visitor.cookies.clear()
        assert visitor.get(f"{ROOT}/", headers={"Cookie": f"{COOKIE}={cookie}"}).status_code == 303

    @pytest.mark.parametrize(
        "there",
        [
            "https://example.com/",
            "//example.com",
            "/dash//example.com",
            "/dash\\example",
            "javascript:alert(1)",
            "/dash/../local--app-function/",
            "/dash/%2E./local--app-function/",
        ],
    )
    def test_a_login_leads_to_our_own_pages_only(self, visitor, keyring, there):
        assert log_in(visitor, keyring, next=there).headers["location"] == f"{ROOT}/"


class TestLinks:
    def test_one_lets_one_visitor_in_once(self, visitor, access):
        link = access.new_link()
        assert "set-cookie" in visitor.get(link).headers
        assert visitor.get(f"{ROOT}/").status_code == 200

        visitor.cookies.clear()
        again = visitor.get(link)
        assert (again.status_code, "set-cookie" in again.headers) == (403, False)

    def test_who_only_asks_what_it_leads_to_does_not_use_it_up(self, visitor, access):
        link = access.new_link()
        assert "set-cookie" not in visitor.head(link).headers
        assert "set-cookie" in visitor.get(link).headers

    def test_one_that_is_too_old_does_not(self, visitor, access, clock):
        link = access.new_link()
        clock.move(LINK_LIFE.total_seconds())
        assert visitor.get(link).status_code == 403

    def test_what_looks_like_one_does_not(self, visitor):
        assert visitor.get(f"{ROOT}/login?link=guessed").status_code == 403


class TestChanges:
    def test_a_form_of_ours_is_heard_and_its_actor_is_known(self, visitor, keyring):
        log_in(visitor, keyring)
        answer = visitor.post(f"{ROOT}/change", data={"what": "more", "csrf": csrf_of(visitor)}, headers=FROM_HERE)
        assert (answer.status_code, "the owner, in the dashboard" in answer.text) == (200, True)

    @pytest.mark.parametrize(
        ("headers", "knows_word"),
        [
            ({}, True),
            ({"Origin": "http://evil.example"}, True),
            ({"Origin": "null"}, True),
            ({"Origin": "http://local--f.localhost:8980"}, True),
            ({"Sec-Fetch-Site": "cross-site"}, True),
            (FROM_HERE, False),
        ],
    )
    def test_what_another_site_sends_is_refused(self, visitor, keyring, headers, knows_word):
        log_in(visitor, keyring)
        word = csrf_of(visitor) if knows_word else "0" * 64
        body = urlencode({"what": "more", "csrf": word})
        sent = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        assert visitor.post(f"{ROOT}/change", content=body, headers=sent).status_code == 403

    def test_a_login_is_not_given_by_another_site(self, visitor, keyring):
        fields = {"token_id": keyring.token_id, "token_secret": keyring.token_secret}
        assert visitor.post(f"{ROOT}/login", data=fields, headers={"Origin": "http://evil.example"}).status_code == 403

    def test_a_form_has_a_bound(self, visitor, keyring):
        log_in(visitor, keyring)
        assert visitor.post(f"{ROOT}/change", data={"what": "x" * 300_000}, headers=FROM_HERE).status_code == 413


class TestHosts:
    @pytest.mark.parametrize("host", ["127.0.0.1:8980", "localhost:8980", "localhost", "[::1]:8980"])
    def test_our_own_are_answered(self, visitor, host):
        assert visitor.get(f"{ROOT}/login", headers={"Host": host}).status_code == 200

    @pytest.mark.parametrize(
        "host", ["evil.example", "workshop:8980", "192.0.2.7:8980", "127.0.0.1.evil.example:8980", "localhost.evil.example"]
    )
    def test_names_of_others_that_lead_here_are_not(self, visitor, host):
        assert visitor.get(f"{ROOT}/login", headers={"Host": host}).status_code == 421


def test_every_page_says_what_it_may_load(visitor):
    headers = visitor.get(f"{ROOT}/login").headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


def test_no_page_is_shown_within_another(visitor, keyring):
    log_in(visitor, keyring)
    assert visitor.get(f"{ROOT}/", headers={"Sec-Fetch-Dest": "iframe"}).status_code == 403
