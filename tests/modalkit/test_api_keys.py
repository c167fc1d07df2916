"""Who is let in, and how often."""

import hashlib
import re

import modal
import pytest
from builders import a_client, a_config, an_app
from fastapi import WebSocket, WebSocketDisconnect

from modalkit import _sdk, auth
from modalkit._rates import Rates, network_of
from modalkit.auth import Key, current_caller, find_key, new_key, parse_keys
from modalkit.errors import ConfigError
from modalkit.modal_config import used_extras
from modalkit.settings import RateLimit, Settings
from modalkit.testing import TestClient

ALICE, BOB = new_key("alice"), new_key("bob")
NUMBER = {"value": 2}
ONLY_SMALL = {"keys": {"bob": {"models": ["small"]}}}
THREE_MODELS = {"model_entries": {"default": {}, "small": {}, "large": {}}}


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    """The keys of alice, hashed, and of bob."""
    monkeypatch.setenv("MODALKIT_API_KEYS", f"{ALICE.line}\n{BOB.line}\n")


def asked(client, key=None, **params):
    return client.post("/predict_sync", json=NUMBER, params=params, headers={"x-api-key": key} if key else {})


def with_keys(**auth_config):
    return a_client(auth_config={"kind": "api_key", **auth_config}, model_settings=THREE_MODELS)


class TestKeysOnPaper:
    def test_a_new_key_is_random_and_its_line_holds_only_its_hash(self):
        assert len({new_key("a").key for _ in range(50)}) == 50
        assert ALICE.line == f"alice:sha256:{hashlib.sha256(ALICE.key.encode()).hexdigest()}"

    def test_entries_stand_between_lines_spaces_or_commas(self):
        text = f"{ALICE.line},{BOB.line}\ncarol:{'k' * 20} dave:{'l' * 20}"

        assert [key.name for key in parse_keys(text, "test")] == ["alice", "bob", "carol", "dave"]

    def test_a_key_may_be_given_itself(self):
        [key] = parse_keys("carol:correct-horse-battery-staple", "test")

        assert find_key([key], "correct-horse-battery-staple") == key

    def test_sixty_four_hex_digits_alone_are_a_key_and_not_a_hash(self):
        digits = "0123456789abcdef" * 4
        [key] = parse_keys(f"carol:{digits}", "test")

        assert find_key([key], digits) == key

    @pytest.mark.parametrize(
        "entry", ["opensesame", "alice:", ":opensesame", "alice:sha256:opensesame", "al/ice:opensesame", "sha256:opensesame"]
    )
    def test_what_is_no_key_is_refused_without_being_shown(self, entry):
        with pytest.raises(ConfigError) as refused:
            parse_keys(f"{BOB.line} {entry}", "MODALKIT_API_KEYS")

        assert "MODALKIT_API_KEYS, entry 2" in str(refused.value)
        assert "opensesame" not in str(refused.value)

    def test_a_key_that_can_be_guessed_is_warned_of(self, caplog):
        parse_keys("carol:letmein", "test")

        assert "carol is short enough" in caplog.text
        assert "letmein" not in caplog.text

    def test_a_name_with_other_characters_is_refused(self):
        with pytest.raises(ConfigError, match="no name of a key"):
            new_key("alice, bob")


class TestComparing:
    @pytest.mark.parametrize("shown", [ALICE.key, BOB.key, "wrong"])
    def test_keys_are_compared_in_constant_time_and_all_of_them(self, shown, monkeypatch):
        """Defect: keys compared with `==`."""
        compared = []
        real = auth.hmac.compare_digest
        monkeypatch.setattr(auth.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
        keys = parse_keys(f"{ALICE.line} {BOB.line}", "test")

        found = find_key(keys, shown)

        assert [kept for kept, _ in compared] == [key.digest for key in keys]
        assert {len(each) for pair in compared for each in pair} == {32}
        assert (found.name if found else None) == {ALICE.key: "alice", BOB.key: "bob"}.get(shown)

    def test_both_keys_of_one_name_are_let_in_while_one_replaces_the_other(self):
        newer = new_key("alice")
        keys = parse_keys(f"{ALICE.line} {newer.line}", "test")

        assert find_key(keys, ALICE.key).name == find_key(keys, newer.key).name == "alice"

    def test_bytes_that_are_no_text_are_a_wrong_key(self):
        assert find_key([Key("a", b"\0" * 32)], "\xff\u20ac") is None


class TestRequests:
    def test_a_key_is_taken_from_its_header_and_as_bearer(self):
        with with_keys() as client:
            answers = [
                asked(client, ALICE.key),
                asked(client, BOB.key),
                client.post("/predict_sync", json=NUMBER, headers={"Authorization": f"Bearer {ALICE.key}"}),
                client.post("/predict_sync", json=NUMBER, headers={"authorization": f"bearer  {BOB.key} "}),
            ]

        assert [each.status_code for each in answers] == [200] * 4

    def test_without_a_key_the_answer_says_how_to_send_one(self):
        with with_keys() as client:
            answer = asked(client)

        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
        assert answer.headers["www-authenticate"] == 'Bearer realm="test"'
        assert answer.json()["type"] == "urn:modalkit:unauthenticated"
        assert "x-api-key" in answer.json()["detail"]

    @pytest.mark.parametrize(
        "headers", [{"x-api-key": "wrong"}, {"Authorization": "Bearer wrong"}, {"x-api-key": ALICE.line}, {"x-api-key": ""}]
    )
    def test_a_wrong_key_is_refused(self, headers):
        with with_keys() as client:
            answer = client.post("/predict_sync", json=NUMBER, headers=headers)

        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]

    def test_another_header_may_be_named(self):
        with with_keys(header="X-Token") as client:
            statuses = [
                client.post("/predict_sync", json=NUMBER, headers={name: ALICE.key}).status_code for name in ("x-token", "x-api-key")
            ]

        assert statuses == [200, 401]

    def test_the_variable_with_the_keys_may_be_named(self, monkeypatch):
        carol = new_key("carol")
        monkeypatch.setenv("OUR_KEYS", carol.line)
        with with_keys(keys_variable="OUR_KEYS") as client:
            statuses = [asked(client, key).status_code for key in (carol.key, ALICE.key)]

        assert statuses == [200, 401]

    def test_keys_may_be_in_a_dotenv_file_while_one_develops(self, monkeypatch, tmp_path):
        monkeypatch.delenv("MODALKIT_API_KEYS")
        (tmp_path / ".env").write_text(f"MODALKIT_API_KEYS={ALICE.line}\n")
        with with_keys() as client:
            assert asked(client, ALICE.key).status_code == 200

    def test_health_needs_no_key_and_all_else_does(self):
        with with_keys() as client:
            statuses = {
                path: client.get(path).status_code
                for path in ("/health", "/health/live", "/health/ready", "/metrics", "/models", "/docs", "/nowhere")
            }

        assert statuses == {
            "/health": 200,
            "/health/live": 200,
            "/health/ready": 200,
            "/metrics": 401,
            "/models": 401,
            "/docs": 401,
            "/nowhere": 401,
        }

    def test_the_health_of_a_named_model_needs_a_key(self):
        """To ask for it loads the model: strangers could have all models of a container come and go."""
        paths = [f"/health/ready?{query}" for query in ("model_name=default", "x=1&model%5Fname=default", "x=1")]
        with with_keys() as client:
            without = [client.get(path).status_code for path in paths]
            shown = client.get(paths[0], headers={"x-api-key": ALICE.key}).status_code

        assert (without, shown) == ([401, 401, 200], 200)

    def test_paths_are_opened_by_setting(self):
        with with_keys(open_paths=["/metrics", "/models"]) as client:
            statuses = [client.get(path).status_code for path in ("/metrics", "/models", "/docs")]

        assert statuses == [200, 200, 401]

    def test_no_key_is_asked_for_unless_settings_say_so(self):
        with a_client() as client:
            assert asked(client).status_code == 200

    def test_refusals_are_counted(self):
        with with_keys(open_paths=["/metrics"]) as client:
            asked(client)
            assert 'modalkit_requests_total{route="none",status="401"} 1.0' in client.get("/metrics").text

    def test_web_sockets_of_the_users_own_need_a_key_too(self):
        with with_keys() as client:

            @client.app.websocket("/chat")
            async def chat(websocket: WebSocket):
                await websocket.accept()
                await websocket.send_text(current_caller().name)

            with client.websocket_connect("/chat", headers={"x-api-key": ALICE.key}) as websocket:
                assert websocket.receive_text() == "alice"
            with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect("/chat"):
                pass

        assert (refused.value.code, "API key" in refused.value.reason) == (1008, True)

    def test_openapi_says_which_routes_need_a_key(self):
        with with_keys() as client:
            document = client.get("/openapi.json", headers={"x-api-key": ALICE.key}).json()

        assert document["components"]["securitySchemes"].keys() == {"api_key", "bearer"}
        assert document["security"] == [{"api_key": []}, {"bearer": []}]
        assert document["paths"]["/health/live"]["get"]["security"] == []
        assert "security" not in document["paths"]["/predict_sync"]["post"]


class TestModelsOfKeys:
    def test_a_key_uses_only_the_models_that_are_named_for_it(self):
        with with_keys(**ONLY_SMALL) as client:
            bobs = [asked(client, BOB.key, model_name=model).status_code for model in ("small", "large", "default", "unknown")]
            alices = [asked(client, ALICE.key, model_name=model).status_code for model in ("small", "large", "default", "unknown")]

        assert bobs == [200, 403, 403, 403]
        assert alices == [200, 200, 200, 404]

    def test_the_default_model_is_refused_too(self):
        with with_keys(**ONLY_SMALL) as client:
            answer = asked(client, BOB.key)

        assert (answer.status_code, answer.json()["type"]) == (403, "urn:modalkit:forbidden")

    def test_the_catalogue_shows_only_these(self):
        with with_keys(**ONLY_SMALL) as client:
            names = [
                [each["name"] for each in client.get("/models", headers={"x-api-key": key}).json()["models"]]
                for key in (ALICE.key, BOB.key)
            ]

        assert names == [["default", "small", "large"], ["small"]]

    def test_a_model_that_there_is_not_is_told_at_the_start(self):
        with pytest.raises(ConfigError, match=re.escape("auth_config.keys.bob.models: there is no model tiny")):
            with_keys(keys={"bob": {"models": ["tiny"]}})


class TestSettings:
    def test_an_app_that_asks_for_keys_and_has_none_does_not_start(self, monkeypatch):
        monkeypatch.delenv("MODALKIT_API_KEYS")
        with pytest.raises(ConfigError, match=re.escape("MODALKIT_API_KEYS is not set")):
            with_keys()

    def test_a_name_that_no_key_has_is_warned_of(self, caplog):
        with_keys(keys={"alcie": {"models": ["small"]}})

        assert "auth_config.keys speaks of alcie" in caplog.text

    def test_limits_of_keys_without_keys_are_refused(self):
        with pytest.raises(ConfigError, match="for kind: api_key"):
            Settings(app_settings={"auth_config": {"keys": {"bob": {}}}})

    def test_an_open_path_begins_with_a_slash(self):
        with pytest.raises(ConfigError, match="a path begins with /"):
            Settings(app_settings={"auth_config": {"open_paths": ["metrics"]}})

    def test_the_image_has_what_ssm_needs_where_it_is_used(self):
        used = [
            used_extras(a_config(auth_config=config).settings) for config in ({}, {"kind": "api_key", "ssm": {"parameters": ["/keys"]}})
        ]

        assert ["ssm" in each for each in used] == [False, True]


class TestProxyAuth:
    """The platform checks proxy tokens; this package sees to it that it is asked to."""

    def test_the_decorator_is_given_the_setting(self):
        assert a_config(auth_config={"kind": "modal_proxy"}).get_asgi_app_settings() == {"requires_proxy_auth": True}
        assert a_config().get_asgi_app_settings() == {}

    def test_a_bare_decorator_is_refused_while_the_app_is_made(self):
        with pytest.raises(ConfigError, match=re.escape("@modal.asgi_app(**modal_config.get_asgi_app_settings())")):
            an_app(auth_config={"kind": "modal_proxy"})

    def test_a_decorator_that_asks_is_taken_and_so_are_functions_without_one(self):
        config = a_config(auth_config={"kind": "modal_proxy"})
        app = modal.App("test")
        guarded = modal.asgi_app(**config.get_asgi_app_settings())(lambda: None)

        web = app.function(serialized=True, name="web", **config.get_handler_settings())(guarded)
        predict = app.function(serialized=True, name="predict", **config.get_handler_settings())(lambda: None)

        assert [_sdk.asks_for_proxy_token(each) for each in (web, predict)] == [True, None]


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class TestRates:
    def test_as_many_as_the_limit_pass_at_once_and_then_one_by_one(self):
        clock = Clock()
        rates = Rates(RateLimit(requests=3, per_seconds=6), clock=clock)

        waits = [rates.take("a") for _ in range(4)]
        clock.now += waits[3]
        later = [rates.take("a"), rates.take("a")]

        assert waits == [0, 0, 0, pytest.approx(2)]
        assert later == [0, pytest.approx(2)]

    def test_a_pause_gives_all_back_but_no_more(self):
        clock = Clock()
        rates = Rates(RateLimit(requests=3, per_seconds=6), clock=clock)
        assert [rates.take("a") for _ in range(3)] == [0, 0, 0]

        clock.now += 3600

        assert [rates.take("a") > 0 for _ in range(4)] == [False, False, False, True]

    def test_no_more_pass_in_the_long_run_than_the_limit_says(self):
        clock = Clock()
        rates = Rates(RateLimit(requests=10, per_seconds=1), clock=clock)
        passed = 0
        for _ in range(100_000):  # ten seconds, 10,000 requests a second
            passed += not rates.take("a")
            clock.now += 0.0001

        assert passed == pytest.approx(110, abs=1)  # the first ten, and ten a second

    def test_callers_do_not_share(self):
        rates = Rates(RateLimit(requests=1, per_seconds=60), clock=Clock())

        assert [rates.take(name) > 0 for name in "abab"] == [False, False, True, True]

    def test_a_caller_may_have_a_limit_of_its_own(self):
        rates = Rates(RateLimit(requests=1, per_seconds=60), {"b": RateLimit(requests=2, per_seconds=60)}, clock=Clock())

        assert [rates.take(name) > 0 for name in "aabbb"] == [False, True, False, False, True]

    def test_memory_is_bounded_and_the_one_that_asked_longest_ago_is_forgotten(self):
        rates = Rates(RateLimit(requests=1, per_seconds=60), clock=Clock(), most=100)
        for number in range(1000):
            rates.take(str(number))

        assert len(rates) == 100
        assert [rates.take("999") > 0, rates.take("0") > 0] == [True, False]

    def test_an_ipv6_caller_is_its_network(self):
        assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
        assert network_of("203.0.113.7") == "203.0.113.7"
        assert network_of("fe80::1%eth0") == "fe80::/64"
        assert network_of("a:socket") == "a:socket"


class TestRatesOfRequests:
    def test_too_many_requests_are_told_when_to_come_back(self):
        with with_keys(rate_limit={"requests": 2, "per_seconds": 60}) as client:
            answers = [asked(client, ALICE.key) for _ in range(3)]

        assert [each.status_code for each in answers] == [200, 200, 429]
        assert answers[2].json()["type"] == "urn:modalkit:rate_limited"
        assert 25 <= int(answers[2].headers["retry-after"]) <= 30

    def test_each_key_has_its_own_and_may_have_another(self):
        limits = {"rate_limit": {"requests": 1, "per_seconds": 60}, "keys": {"bob": {"rate_limit": {"requests": 2, "per_seconds": 60}}}}
        with with_keys(**limits) as client:
            statuses = [asked(client, key).status_code for key in (ALICE.key, ALICE.key, BOB.key, BOB.key, BOB.key)]

        assert statuses == [200, 429, 200, 200, 429]

    def test_without_keys_each_address_has_its_own(self):
        app = an_app(auth_config={"rate_limit": {"requests": 1, "per_seconds": 60}})

        with TestClient(app, client=("203.0.113.7", 1)) as client:
            assert [asked(client).status_code for _ in range(2)] == [200, 429]
        with TestClient(app, client=("203.0.113.8", 1)) as client:
            assert asked(client).status_code == 200

    def test_health_and_wrong_keys_are_not_counted(self):
        with with_keys(rate_limit={"requests": 1, "per_seconds": 60}) as client:
            assert {client.get("/health/live").status_code for _ in range(5)} == {200}
            assert {asked(client, "wrong").status_code for _ in range(5)} == {401}
            assert asked(client, ALICE.key).status_code == 200
