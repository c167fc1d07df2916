"""Debian's Caddy in front of the engine, with the configuration of `deploy/caddy`. Only its certificates come from an authority of Caddy's
own: no other can be reached from a test."""

import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_port
from websockets.asyncio.client import connect

from conformance.curl import SSL_CONNECT_ERROR, curl
from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.waiting import eventually

ROOT = Path(__file__).parents[2]
CADDYFILE = ROOT / "deploy" / "caddy" / "Caddyfile"
UNPACKED = ROOT / "build" / "caddy"


@pytest.fixture(scope="session")
def caddy() -> Path:
    """The program, from Debian's package: unpacked, not installed, as that would start a service."""
    if found := shutil.which("caddy") or shutil.which(UNPACKED / "usr" / "bin" / "caddy"):
        return Path(found)
    if not shutil.which("apt-get"):
        pytest.skip("There is no caddy, and no apt-get to fetch it with.")
    UNPACKED.mkdir(parents=True, exist_ok=True)
    commands = ("apt-get update -qq", "apt-get download -qq caddy", "dpkg -x caddy_*.deb .")
    fetched = subprocess.run(["sh", "-ec", "\n".join(commands)], cwd=UNPACKED, capture_output=True, text=True, timeout=300, check=False)
    if fetched.returncode != 0:
        pytest.skip(f"Debian's caddy could not be fetched: {fetched.stderr.strip()[-200:]}")
    return UNPACKED / "usr" / "bin" / "caddy"


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "edges.py") as app:
        yield app


class Proxy:
    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self.authority = folder / "data" / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    def url(self, host: str, path: str = "/") -> str:
        return f"https://{host}:{self.port}{path}"


@pytest.fixture(scope="module")
def proxy(caddy: Path, app: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder, port = tmp_path_factory.mktemp("caddy"), free_port()
    (folder / "Caddyfile").write_text(of_its_own_authority(CADDYFILE.read_text(), port))
    env = {
        **os.environ,
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "FREEHOLD_GATEWAY": f"127.0.0.1:{app.engine.gateway_port}",
    }
    command = [caddy, "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, env=env, stdout=log, stderr=log) as process:
        try:
            running = Proxy(port, folder)
            answers = lambda: running.authority.exists() and curl(running.url("localhost"), "-k").status == 404  # noqa: E731
            eventually(answers, within=60, what="A Caddy that answers")
            yield running
        finally:
            process.terminate()


def of_its_own_authority(caddyfile: str, port: int) -> str:
    options = f"{{\n\tadmin off\n\tskip_install_trust\n\thttp_port {free_port()}\n\thttps_port {port}\n"
    changed = caddyfile.replace("\n{\n", f"\n{options}", 1).replace("\t\ton_demand\n", "\t\tissuer internal\n\t\ton_demand\n")
    assert changed.count("issuer internal") == caddyfile.count("\ton_demand\n") == 2
    return changed


def test_a_function_is_reached_by_its_label_and_knows_its_caller(proxy: Proxy) -> None:
    fetched = curl(proxy.url("local--edges-at-home.localhost"), trusting=proxy.authority)

    assert fetched.text.startswith("https local--edges-at-home.localhost 127.0.0.1"), fetched


def test_a_function_is_reached_by_its_custom_domains(proxy: Proxy) -> None:
    for host in ("api.example.com", "any.wild.example.com"):
        assert curl(proxy.url(host), trusting=proxy.authority).text.startswith(f"https {host} ")


@pytest.mark.parametrize("host", ["local--nothing.localhost", "other.example.com", "example.com"])
def test_no_certificate_is_got_for_names_that_do_not_exist(proxy: Proxy, host: str) -> None:
    assert curl(proxy.url(host), "-k").code == SSL_CONNECT_ERROR


def test_calls_go_to_the_engines_own_domain(proxy: Proxy, app: Deployment) -> None:
    assert curl(proxy.url("localhost", "/call/edges/at_home"), "-X", "POST", trusting=proxy.authority).status == 401
    token = f"{app.engine.credentials['MODAL_TOKEN_ID']}:{app.engine.credentials['MODAL_TOKEN_SECRET']}"
    told = curl(
        proxy.url("localhost", "/call/edges/nothing"), "-X", "POST", "-H", f"Authorization: Bearer {token}", trusting=proxy.authority
    )
    assert "It has:" in json.loads(told.text)["detail"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/_freehold/domains?domain=localhost", "/local--edges-at-home/"])
def test_the_engines_own_pages_stay_on_the_machine(proxy: Proxy, path: str) -> None:
    assert curl(proxy.url("localhost", path), trusting=proxy.authority).status == 404


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "other.example.com"])
def test_a_caller_cannot_ask_for_one_host_and_mean_another(proxy: Proxy, host: str) -> None:
    fetched = curl(proxy.url("api.example.com", "/healthz"), "-H", f"Host: {host}", trusting=proxy.authority)

    assert fetched.text.startswith("https api.example.com ") or (host, fetched.status) == ("localhost", 404)


async def test_a_websocket_passes(proxy: Proxy, app: Deployment) -> None:
    context = ssl.create_default_context(cafile=str(proxy.authority))
    async with connect(f"wss://api.example.com:{proxy.port}/", host="127.0.0.1", ssl=context) as socket:
        assert str(await socket.recv()).startswith("wss api.example.com")
