import tempfile
from pathlib import Path

import pytest
from ports import free_port

from freehold.config import Settings


@pytest.fixture
def home(monkeypatch):
    """A home of its own, with ports that nothing uses, as the environment of the commands. Short: sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="fh-") as folder:
        monkeypatch.setenv("FREEHOLD_HOME", f"{folder}/home")
        monkeypatch.setenv("FREEHOLD_CONTROL_PORT", str(free_port()))
        monkeypatch.setenv("FREEHOLD_GATEWAY_PORT", str(free_port()))
        yield Path(folder) / "home"


@pytest.fixture
def settings(home):
    return Settings.load()
