"""The examples under other versions of the `modal` SDK than the one that is installed: their decorators take what the YAML files become.

Each version comes before the installed one on the path (`tests/sdks`); all else is the same.
"""

import os
import subprocess
import sys
from pathlib import Path

import modal
import pytest
from sdks.installed import packages_of

EXAMPLES = Path(__file__).with_name("test_kit_examples.py")
SETTINGS = Path(__file__).with_name("sdk_settings.py")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", params=["1.0.5", "1.3.5"])
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """What a Python runs with that has this version."""
    environment = {**os.environ, "PYTHONPATH": str(packages_of(request.param))}
    asked = [sys.executable, "-c", "import modal; print(modal.__version__)"]
    assert subprocess.run(asked, env=environment, capture_output=True, text=True, check=True).stdout.strip() == request.param
    assert modal.__version__ != request.param
    return environment


def test_the_examples_answer_as_ever(environment: dict[str, str]) -> None:
    ran = subprocess.run([sys.executable, "-m", "pytest", "-q", EXAMPLES], env=environment, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def accepts_every_setting(environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """What comes of an app with every setting there is; a word of the SDK about a keyword on its way out is an error, too."""
    command = [sys.executable, "-W", "error::UserWarning", SETTINGS]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def test_every_setting_reaches_the_sdk_by_a_name_that_it_takes(environment: dict[str, str], tmp_path: Path) -> None:
    ran = accepts_every_setting(environment, tmp_path)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_setting_reaches_the_installed_sdk(tmp_path: Path) -> None:
    ran = accepts_every_setting(dict(os.environ), tmp_path)

    assert ran.stdout == f"accepted by {modal.__version__}\n", ran.stderr
