"""An engine that cannot start says why before it tries."""

import os
import socket

import pytest

from freehold.cli import preflight
from freehold.config import Settings
from freehold.domain.errors import Conflict, InvalidRequest, PermissionDenied


@pytest.fixture(autouse=True)
def as_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_a_machine_that_is_ready_passes(settings):
    preflight.check(settings)


def test_another_user_than_root_is_told_to_use_sudo(settings, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(PermissionDenied, match="sudo -E"):
        preflight.check(settings)


@pytest.mark.parametrize("variable", ["FREEHOLD_CONTROL_PORT", "FREEHOLD_GATEWAY_PORT"])
def test_a_busy_port_names_the_variable_that_moves_it(home, monkeypatch, variable):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv(variable, str(other.getsockname()[1]))

        with pytest.raises(Conflict, match=rf"already in use\. Choose another port with {variable}"):
            preflight.check(Settings.load())


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "example.org"])
def test_an_address_that_others_reach_needs_its_flag(home, host):
    with pytest.raises(InvalidRequest, match="--unsafe-allow-remote"):
        preflight.check(Settings.load(host=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.9"])
def test_loopback_needs_no_flag(home, host):
    preflight.check(Settings.load(host=host))


def test_the_flag_allows_any_address(home):
    preflight.check(Settings.load(host="0.0.0.0", unsafe_allow_remote=True))
