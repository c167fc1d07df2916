"""Environments: the same names, side by side."""

import json
from collections.abc import Iterator

import grpc
import modal
import pytest
from modal_proto import api_pb2

from conformance.deployment import deployed, versioned
from conformance.engine import APPS, Engine


@pytest.fixture
def staging(engine: Engine) -> Iterator[str]:
    _remove(engine, "staging")
    engine.modal("environment", "create", "staging").succeeded()
    yield "staging"
    _remove(engine, "staging")


def _remove(engine: Engine, name: str) -> None:
    """With its apps, which stop an environment from being deleted."""
    try:
        apps = engine.call("AppList", api_pb2.AppListRequest(environment_name=name)).apps
    except grpc.RpcError:
        return
    for app in apps:
        engine.call("AppStop", api_pb2.AppStopRequest(app_id=app.app_id))
    engine.call("EnvironmentDelete", api_pb2.EnvironmentDeleteRequest(name=name))


def test_the_commands_create_list_and_delete(engine: Engine, staging: str) -> None:
    assert _names(engine) >= {"main", staging}

    engine.modal("environment", "update", staging, "--set-name", "rehearsal").succeeded()
    assert "rehearsal" in _names(engine)

    engine.modal("environment", "delete", "--yes", "rehearsal").succeeded()
    assert not {staging, "rehearsal"} & _names(engine)


def test_an_app_lives_in_one_environment(engine: Engine, staging: str, tmp_path) -> None:
    engine.modal("deploy", "--env", staging, versioned("deploy.py", tmp_path, VERSION=2)).succeeded()
    with deployed(engine, "deploy.py") as app:
        assert app.function("version").remote() == 1
        assert modal.Function.from_name("deploy", "version", environment_name=staging).remote() == 2


def test_a_web_address_names_the_environment(engine: Engine, staging: str) -> None:
    ran = engine.modal("deploy", "--env", staging, APPS / "serve.py").succeeded()

    assert f"http://local-staging--serve-version.localhost:{engine.gateway_port}" in ran.output


def test_a_secret_is_in_one_environment(engine: Engine, staging: str) -> None:
    engine.modal("secret", "create", "--env", staging, "rehearsed", "KEY=value").succeeded()

    modal.Secret.from_name("rehearsed", environment_name=staging).hydrate()
    with pytest.raises(modal.exception.NotFoundError, match="rehearsed"):
        modal.Secret.from_name("rehearsed").hydrate()


def test_the_default_environment_stays(engine: Engine) -> None:
    assert engine.modal("environment", "delete", "--yes", "main").code != 0


def test_an_environment_that_is_not_there_is_named(engine: Engine) -> None:
    ran = engine.modal("deploy", "--env", "nowhere", APPS / "deploy.py")

    assert ran.code != 0
    assert "nowhere" in ran.output


def _names(engine: Engine) -> set[str]:
    return {environment["name"] for environment in json.loads(engine.modal("environment", "list", "--json").succeeded().output)}
