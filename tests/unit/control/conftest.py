"""A control plane for each test."""

import pytest
from fakes.control import ControlPlane


@pytest.fixture
def plane(tmp_path):
    return ControlPlane(tmp_path)
