"""What containers of older clients are given: their identity on each RPC, and their arguments where they look for them."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.container import commandline
from freehold.worker import bundles

SOURCE = Path(bundles.__file__).parents[2]
CLIENT = """
def _get_metadata(client_type, credentials, version):
    return {"x-modal-client-version": version}

class Client:
    def headers(self):
        return _get_metadata(1, None, "0.72.58")
"""


@pytest.fixture
def packages(tmp_path):
    """A folder as containers have it, with a client of which only the place that is changed is there."""
    (tmp_path / "modal").mkdir()
    (tmp_path / "modal" / "__init__.py").write_text("from .client import Client")
    (tmp_path / "modal" / "client.py").write_text(CLIENT)
    (tmp_path / bundles.OWN_PACKAGE).symlink_to(SOURCE / "freehold" / "container")
    return tmp_path


def headers_of(packages, **variables):
    script = "import json, modal; print(json.dumps(modal.Client().headers()))"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(packages), **variables}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


def test_whoever_speaks_to_the_engine_says_whose_container_it_is_in(packages):
    (packages / "sitecustomize.py").write_text(bundles.sitecustomize(tells_by_itself=False))
    told = headers_of(packages, MODAL_OVERRIDE_HEADERS="x-task:ta-1,x-task-token:s:3")
    assert told == {"x-modal-client-version": "0.72.58", "x-task": "ta-1", "x-task-token": "s:3"}


def test_a_client_that_tells_by_itself_is_left_alone(packages):
    (packages / "sitecustomize.py").write_text(bundles.sitecustomize(tells_by_itself=True))
    assert headers_of(packages, MODAL_OVERRIDE_HEADERS="x-task:ta-1") == {"x-modal-client-version": "0.72.58"}


def test_outside_of_containers_nothing_is_told(packages):
    (packages / "sitecustomize.py").write_text(bundles.sitecustomize(tells_by_itself=False))
    assert headers_of(packages) == {"x-modal-client-version": "0.72.58"}


def test_the_oldest_find_their_arguments_on_the_command_line(tmp_path, monkeypatch):
    (tmp_path / "arguments.bin").write_bytes(b"arguments")
    monkeypatch.setenv("MODAL_CONTAINER_ARGUMENTS_PATH", str(tmp_path / "arguments.bin"))
    monkeypatch.setenv("MODAL_OVERRIDE_HEADERS", "x-task:ta-1,x-task-token:secret")
    monkeypatch.setenv("MODAL_TASK_SECRET", "")
    monkeypatch.setattr(sys, "argv", ["entrypoint"])
    commandline.install()
    assert sys.argv == ["entrypoint", base64.b64encode(b"arguments").decode()]
    assert os.environ["MODAL_TASK_SECRET"] == "secret"
