"""Who reaches web functions, and by which names: custom domains and proxy tokens, through the real gateway."""

import json
from collections.abc import Iterator

import pytest

from conformance.curl import curl
from conformance.deployment import Deployment, deployed
from conformance.engine import Engine


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "edges.py") as app:
        yield app


@pytest.fixture(scope="module")
def token(engine: Engine) -> Iterator[dict[str, str]]:
    made = json.loads(engine.modal("workspace", "proxy-tokens", "create", "--json").succeeded().output)
    yield made
    engine.modal("workspace", "proxy-tokens", "delete", "--yes", made["Modal-Key"])


class TestCustomDomains:
    def test_a_function_answers_at_its_domain(self, app: Deployment) -> None:
        url = f"http://api.example.com:{app.engine.gateway_port}"

        assert curl(f"{url}/any/path").text.startswith(f"http api.example.com:{app.engine.gateway_port}")
        assert url in app.output, "modal deploy prints it"

    def test_and_at_all_names_below_one(self, app: Deployment) -> None:
        assert curl(f"http://any.wild.example.com:{app.engine.gateway_port}/").text.startswith("http any.wild.example.com")

    async def test_its_usual_address_stays(self, app: Deployment) -> None:
        assert curl(await app.url("at_home")).status == 200

    def test_a_proxy_can_ask_which_names_exist(self, app: Deployment) -> None:
        ask = f"{app.engine.gateway_url}/_freehold/domains?domain="
        names = {"api.example.com": 200, "x.wild.example.com": 200, "local--edges-guarded.localhost": 200, "example.com": 404}

        assert {name: curl(ask + name).status for name in names} == names


class TestProxyTokens:
    async def test_a_guarded_function_is_closed_without_a_token(self, app: Deployment, token: dict[str, str]) -> None:
        url = await app.url("guarded")
        wrong = ["-H", f"Modal-Key: {token['Modal-Key']}", "-H", "Modal-Secret: ws-wrong"]

        for options in ([], wrong, ["-H", "Authorization: Bearer wk-a.ws-b"], ["-H", f"Modal-Key: {token['Modal-Key']}"]):
            fetched = curl(url, *options)
            assert fetched.status == 401
            assert "proxy token" in fetched.text
        assert "www-authenticate: bearer" in curl(url, "-i").text.lower()

    async def test_it_opens_with_a_token_in_both_forms(self, app: Deployment, token: dict[str, str]) -> None:
        url = await app.url("guarded")
        pair = ["-H", f"Modal-Key: {token['Modal-Key']}", "-H", f"Modal-Secret: {token['Modal-Secret']}"]

        assert curl(url, *pair).text == '"come in"'
        assert curl(url, "-H", f"Authorization: {token['Authorization']}").text == '"come in"'
        assert curl(f"{app.engine.gateway_url}/local--edges-guarded/", *pair).text == '"come in"'

    async def test_a_token_that_is_scoped_elsewhere_does_not_open_it(self, app: Deployment) -> None:
        engine = app.engine
        engine.modal("environment", "create", "elsewhere")
        made = json.loads(engine.modal("workspace", "proxy-tokens", "create", "--json").succeeded().output)
        bearer = ["-H", f"Authorization: {made['Authorization']}"]
        assert curl(await app.url("guarded"), *bearer).status == 200

        engine.modal("workspace", "proxy-tokens", "allow", made["Modal-Key"], "elsewhere").succeeded()
        assert curl(await app.url("guarded"), *bearer).status == 401

        engine.modal("workspace", "proxy-tokens", "allow", made["Modal-Key"], "main").succeeded()
        assert curl(await app.url("guarded"), *bearer).status == 200
        engine.modal("workspace", "proxy-tokens", "delete", "--yes", made["Modal-Key"]).succeeded()
        assert curl(await app.url("guarded"), *bearer).status == 401

    async def test_others_are_open(self, app: Deployment) -> None:
        assert curl(await app.url("at_home")).status == 200


def test_the_later_deployment_has_the_domain(app: Deployment) -> None:
    with deployed(app.engine, "edges.py", name="edges-later") as later:
        url = f"http://api.example.com:{app.engine.gateway_port}/"
        assert curl(url).status == 200
        assert later.engine.modal("app", "stop", "--yes", "edges-later").succeeded()
        assert "http api.example.com" not in curl(url).text, "it is nobody's until it is deployed again"
