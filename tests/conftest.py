"""What holds for every test: nothing of the person who runs them (profile, token, settings) reaches the code under test, and those that
wait for half a minute or more run only where that was asked for.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from freehold.store.blobs.folder import FolderBlobs

_KEPT = {"FREEHOLD_TEST_HOME"}  # where conformance tests keep their engine's home

for name in [name for name in os.environ if name.startswith(("MODAL_", "FREEHOLD_")) and name not in _KEPT]:
    del os.environ[name]
pytest.register_assert_rewrite("expectations")
# How long an example takes says what else the machine does, and nothing of the code.
hypothesis.settings.register_profile("tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("tests")
os.environ["MODAL_CONFIG_PATH"] = os.devnull  # read when modal is imported, so before any test module

_IS_LONG = bool({"LONG", "MINUTES"} & os.environ.keys())


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long(reason): waits longer than `make test` has time for; `make long` and `make faults` run it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (long := item.get_closest_marker("long")) and not _IS_LONG:
            item.add_marker(pytest.mark.skip(reason=f"for `make long`: {long.kwargs['reason']}"))


@pytest.fixture
async def content(tmp_path: Path) -> "FolderBlobs":
    """A store of uploads, which has none yet."""
    from freehold.store.blobs.folder import FolderBlobs  # noqa: PLC0415 — after the environment was cleared

    content = FolderBlobs(tmp_path / "blobs")
    await content.open()
    return content
