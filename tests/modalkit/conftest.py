"""Apps in this process: no engine, no container."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modalkit.settings import Settings
from modalkit.testing import TestClient

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported; threads of a busy machine wait for each other

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder without `.env` and YAML, an environment without MODALKIT_…, and `Settings.model_config` as it was made."""
    for name in [name for name in os.environ if name.upper().startswith("MODALKIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(Settings.model_config, "yaml_file", None)  # an app may have named one since
    return tmp_path


@pytest.fixture(scope="session")
def guide() -> Path:
    """The folder of the guide's app, with its model trained."""
    folder = EXAMPLES / "deployment_guide"
    if not (folder / "models" / "iris.joblib").exists():
        subprocess.run([sys.executable, folder / "train.py"], check=True)
    return folder


@pytest.fixture
def client(guide: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The guide's app in this process."""
    monkeypatch.chdir(guide)
    monkeypatch.syspath_prepend(str(guide))
    sys.modules.pop("app", None)
    with TestClient(guide / "app.py") as client:
        yield client
