"""What holds for every test of ModalKit: apps in this process, in an empty folder, and nothing of the person's own configuration."""

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
_PRISTINE = dict(Settings.model_config)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder without `.env` and YAML, an environment without MODALKIT_…, and afterwards `Settings.model_config` as it is at import."""
    for name in [name for name in os.environ if name.upper().startswith("MODALKIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    Settings.model_config.clear()
    Settings.model_config.update(_PRISTINE)


@pytest.fixture
def write(tmp_path):
    """Writes a YAML file; the first one is the configuration."""

    def write(text, name="modalkit.yaml"):
        path = tmp_path / name
        path.write_text(text)
        if Settings.model_config.get("yaml_file") is None:
            Settings.model_config["yaml_file"] = name
        return path

    return write


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
