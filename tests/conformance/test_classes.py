"""Classes: state per container, a pool of containers per parameter value, variants with other options."""

from collections.abc import Iterator

import modal
import pytest

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.waiting import eventually


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "classes.py") as app:
        yield app


def test_enter_runs_once_and_the_object_lives_on(app: Deployment) -> None:
    counter = app.cls("Counter")()

    assert [counter.count.remote() for _ in range(3)] == [(1, 1), (1, 2), (1, 3)]


def test_a_method_may_be_a_generator(app: Deployment) -> None:
    assert list(app.cls("Counter")().down_from.remote_gen(3)) == [3, 2, 1]


def test_methods_and_enter_may_be_async(app: Deployment) -> None:
    assert app.cls("AsyncThing")().is_ready.remote() is True


def test_parameters_reach_the_object(app: Deployment) -> None:
    guest = app.cls("Guest")

    assert guest(name="Ada").introduce.remote() == "Ada, 30"
    assert guest(name="Ada", age=36).introduce.remote() == "Ada, 36"


def test_each_value_has_a_pool_of_its_own(app: Deployment) -> None:
    guest = app.cls("Guest")

    ada, bob = guest(name="Ada").container.remote(), guest(name="Bob").container.remote()

    assert ada != bob


def test_a_missing_parameter_is_refused(app: Deployment) -> None:
    with pytest.raises((TypeError, ValueError, modal.exception.InvalidError)):
        app.cls("Guest")(age=3).introduce.remote()


def test_exit_runs_when_the_container_is_let_go(app: Deployment) -> None:
    app.cls("Guest")(name="Zoe").introduce.remote()

    eventually(lambda: "goodbye Zoe" in app.logs(), within=60, what="The line that exit prints")


def test_options_make_a_variant_beside_the_original(app: Deployment) -> None:
    settings = app.cls("Settings")
    green = settings.with_options(secrets=[modal.Secret.from_dict({"COLOUR": "green"})], scaledown_window=5)

    assert green().colour.remote() == "green"
    assert settings().colour.remote() == "red"


def test_an_error_in_enter_reaches_the_caller(app: Deployment) -> None:
    with pytest.raises(RuntimeError, match="the engine does not turn over"):
        app.cls("Broken")().drive.remote()


def test_a_class_that_is_not_there_is_said_so(app: Deployment) -> None:
    with pytest.raises(modal.exception.NotFoundError, match="Nobody"):
        app.cls("Nobody")().anything.remote()
