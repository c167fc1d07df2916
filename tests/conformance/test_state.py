"""What survives the sudden death of the engine."""

from collections.abc import Iterator

import modal
import pytest

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.leftovers import leftovers
from conformance.waiting import eventually

THREE_MB = 3 * 1024 * 1024  # above what is kept inside a row


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    engine.modal("secret", "create", "--force", "survivor", "SURVIVOR=still here").succeeded()
    with deployed(engine, "state.py") as app:
        yield app
    engine.modal("secret", "delete", "--yes", "survivor").succeeded()


def die_and_rise(engine: Engine) -> None:
    engine.kill()
    engine.start()


def test_a_deployment_with_its_image_and_secret_survives(app: Deployment) -> None:
    before = app.function("stamp").remote()

    die_and_rise(app.engine)

    assert app.function("stamp").remote() == before, "the image is the same, not one built again"
    assert app.function("secret").remote() == "still here"
    assert "state" in app.engine.modal("app", "list").succeeded().output


def test_results_of_spawned_calls_survive(app: Deployment) -> None:
    small, big, failed = app.function("slow").spawn(0, "done"), app.function("large").spawn(THREE_MB), app.function("fail").spawn()
    for call in (small, big):
        call.get(timeout=60)
    with pytest.raises(LookupError):
        failed.get(timeout=60)

    die_and_rise(app.engine)

    assert modal.FunctionCall.from_id(small.object_id).get(timeout=60) == "done"
    assert modal.FunctionCall.from_id(big.object_id).get(timeout=60) == b"x" * THREE_MB
    with pytest.raises(LookupError, match="kept for later"):
        modal.FunctionCall.from_id(failed.object_id).get(timeout=60)


def test_a_spawned_call_that_was_running_gets_its_result(app: Deployment) -> None:
    app.function("slow").remote(0, "warm")
    call = app.function("slow").spawn(5, "in the end")
    eventually(app.containers, within=60, what="A container that works on it")

    die_and_rise(app.engine)

    assert modal.FunctionCall.from_id(call.object_id).get(timeout=90) == "in the end"


def test_down_leaves_nothing_behind_and_up_finds_everything(app: Deployment) -> None:
    app.function("slow").remote(0, "warm")
    assert app.containers()

    app.engine.stop().succeeded()

    assert not leftovers(app.engine.home)
    app.engine.start()
    assert app.function("secret").remote() == "still here"
