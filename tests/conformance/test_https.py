"""`freehold up --tls`: web functions over HTTPS for those who trust the home's authority, and all else as before."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from conformance.curl import CERTIFICATE_NOT_TRUSTED, curl
from conformance.deployment import Deployment, deployed
from conformance.engine import Engine


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with engine.restarted(tls="true"), deployed(engine, "edges.py") as app:
        yield app


@pytest.fixture(scope="module")
def authority(app: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trust") / "ca.pem"
    path.write_text(app.engine.freehold("trust", "--print").succeeded().output)
    return path


async def test_who_trusts_the_authority_is_answered_over_https(app: Deployment, authority: Path) -> None:
    url = await app.url("at_home")

    fetched = curl(url, trusting=authority)

    assert url == f"https://local--edges-at-home.localhost:{app.engine.gateway_port}"
    assert url in app.output, "modal deploy prints it"
    assert fetched.text.startswith("https local--edges-at-home.localhost"), "the app knows how it was reached"


async def test_who_does_not_is_not(app: Deployment) -> None:
    assert curl(await app.url("at_home")).code == CERTIFICATE_NOT_TRUSTED


def test_the_gateway_itself_is_reached_by_name_and_address(app: Deployment, authority: Path) -> None:
    for host in ("localhost", "127.0.0.1"):
        assert curl(f"https://{host}:{app.engine.gateway_port}/healthz", trusting=authority).status == 200


def test_a_custom_domain_has_a_certificate_too(app: Deployment, authority: Path) -> None:
    for host in ("api.example.com", "any.wild.example.com"):
        url = f"https://{host}:{app.engine.gateway_port}/"

        assert curl(url, trusting=authority).text.startswith(f"https {host}:{app.engine.gateway_port} 127.0.0.1")


def test_a_name_of_nobodys_has_none(app: Deployment, authority: Path) -> None:
    fetched = curl(f"https://nobody.example.com:{app.engine.gateway_port}/", trusting=authority)

    assert fetched.code == CERTIFICATE_NOT_TRUSTED


def test_plain_http_is_answered_on_the_same_port(app: Deployment) -> None:
    assert curl(f"{app.engine.gateway_url}/healthz").status == 200
    assert app.engine.freehold("status").succeeded()


async def test_a_websocket_is_encrypted_too(app: Deployment, authority: Path) -> None:
    context = ssl.create_default_context(cafile=str(authority))
    url = f"wss://api.example.com:{app.engine.gateway_port}/"

    async with connect(url, host="127.0.0.1", ssl=context) as socket:
        assert str(await socket.recv()).startswith("wss api.example.com")


def test_large_values_pass_as_before(app: Deployment) -> None:
    with deployed(app.engine, "functions.py") as functions:
        data = os.urandom(6 * 1024 * 1024)

        assert functions.function("digest_and_reverse").remote(data)[1] == data[::-1]


def test_the_authority_outlives_the_engine(app: Deployment, authority: Path) -> None:
    before = authority.read_text()

    app.engine.stop().succeeded()
    app.engine.start()

    assert app.engine.freehold("trust", "--print").succeeded().output == before


def test_a_flag_is_enough(app: Deployment, tmp_path: Path) -> None:
    other = Engine(tmp_path / "home")

    said = other.freehold("up", "--tls", "--detach").succeeded().output
    try:
        authority = tmp_path / "ca.pem"
        authority.write_text(other.freehold("trust", "--print").succeeded().output)

        assert f"https://127.0.0.1:{other.gateway_port}" in said
        assert "freehold trust" in said
        assert curl(f"https://127.0.0.1:{other.gateway_port}/healthz", trusting=authority).status == 200
    finally:
        other.freehold("down").succeeded()


def test_the_command_says_how_to_trust_it(app: Deployment) -> None:
    said = app.engine.freehold("trust").succeeded().output

    path = Path(said.splitlines()[0])
    assert path.read_text().startswith("-----BEGIN CERTIFICATE")
    assert "update-ca-certificates" in said
    assert "SSL_CERT_FILE" in said
