"""The tutorial of ModalKit, as far as an engine is needed: what `modalkit new` makes is deployed, asked and measured by the real commands."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from conformance.deployment import Deployment, deployed
from conformance.engine import BIN, Engine


@pytest.fixture(scope="module")
def shop(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("tutorial")
    subprocess.run([BIN / "modalkit", "new", "shop"], cwd=folder, check=True)
    with deployed(engine, folder / "shop" / "app.py", name="shop") as app:
        yield app


def address(shop: Deployment) -> str:
    """As the deploy has printed it: a name under localhost, at the gateway's port."""
    url = shop.function("web").get_web_url()
    assert url in shop.output
    assert urlsplit(url).port == urlsplit(shop.engine.gateway_url).port
    return url


def modalkit(*arguments: str, folder: Path) -> str:
    return subprocess.run([BIN / "modalkit", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=100).stdout


def test_the_deployed_service_is_asked_by_invoke(shop: Deployment, tmp_path: Path) -> None:
    assert json.loads(modalkit("invoke", address(shop), '{"x": 2.0}', folder=tmp_path)) == {"y": 5.0}


def test_its_batches_are_told_by_bench(shop: Deployment, tmp_path: Path) -> None:
    figures = json.loads(modalkit("bench", address(shop), "-d", '{"x": 2.0}', "-n", "200", "--json", folder=tmp_path))

    assert figures["statuses"] == {"200": 200}
    assert figures["batches"]["count"] < figures["batches"]["items"] <= 200
