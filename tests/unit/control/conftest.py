"""A control plane for each test."""

import pytest
from fakes.control import ControlPlane


@pytest.fixture
def plane(tmp_path):
    plane = ControlPlane(tmp_path)
    yield plane
    plane.log_store.close()
