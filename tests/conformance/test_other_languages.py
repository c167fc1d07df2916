"""The page for callers in other languages: what it shows is run as it stands there."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "call-from-other-languages.md"


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "json_calls.py") as app:
        yield app


def shown(language: str) -> str:
    """All that the page shows in this language, one after the other."""
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL))


def run(app: Deployment, *command: str) -> str:
    env = {**os.environ, **app.engine.credentials, "ENGINE": app.engine.gateway_url}
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_curl(app: Deployment) -> None:
    assert run(app, "bash", "-euc", shown("sh")) == "420.1", "the answer of the first command, then that of the last"


@pytest.mark.skipif(shutil.which("node") is None, reason="There is no node on this machine.")
def test_javascript(app: Deployment, tmp_path: Path) -> None:
    script = tmp_path / "call.mjs"
    script.write_text(shown("js"))

    assert run(app, "node", str(script)) == "42\n"


@pytest.mark.skipif(shutil.which("go") is None, reason="There is no Go on this machine.")
def test_go(app: Deployment, tmp_path: Path) -> None:
    script = tmp_path / "call.go"
    script.write_text(shown("go"))

    assert run(app, "go", "run", str(script)) == "200 42\n"
