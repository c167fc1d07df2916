"""Inputs and results over the engine's own socket, and in the stock way where the owner wants that."""

import json
import urllib.request
from collections.abc import Iterator

import modal
import pytest

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.waiting import eventually


@pytest.fixture(scope="module", params=["auto", "stock"])
def app(engine: Engine, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    with engine.restarted(container_transport=request.param), deployed(engine, "transport.py") as app:
        yield app


@pytest.fixture
def is_own(request: pytest.FixtureRequest) -> bool:
    return "auto" in request.node.callspec.params.values()


def test_the_engine_says_how_many_containers_come_its_own_way(app: Deployment, is_own: bool) -> None:
    assert app.function("square").remote(3) == 9

    def as_told() -> bool:
        status = json.loads(page(app.engine, "healthz"))
        return bool(status["tasks"]) and status["tasks_with_own_transport"] == (status["tasks"] if is_own else 0)

    eventually(as_told, within=60, what="All of them, or none")


def test_the_story_of_a_task_names_its_transport(app: Deployment, is_own: bool) -> None:
    task_id = app.function("pid_of_task").remote()

    told = "own" if is_own else "stock"
    eventually(lambda: f"'transport': '{told}'" in str(app.engine.story(task_id)), within=60, what=f"Its transport: {told}")


def test_values_and_maps(app: Deployment) -> None:
    assert app.function("square").remote(7) == 49
    assert list(app.function("square").map(range(200))) == [x * x for x in range(200)]


def test_inputs_of_one_container_run_at_once(app: Deployment) -> None:
    """None of them ends before all four are there."""
    assert len(set(app.function("meets").map([4] * 4))) == 1


def test_spawned_calls_and_their_results(app: Deployment) -> None:
    calls = [app.function("square").spawn(x) for x in range(5)]

    assert list(modal.FunctionCall.gather(*calls)) == [0, 1, 4, 9, 16]


def test_calls_that_containers_make(app: Deployment, is_own: bool) -> None:
    results, told, carrier = app.function("calls_others").remote(3)

    assert results == [9, 9, 16, 1, 2, 9]
    assert "can't multiply" in told
    assert carrier == ("freehold_container.calls" if is_own else "modal._grpc_client")


def test_generators(app: Deployment) -> None:
    assert list(app.function("count_to").remote_gen(5)) == [1, 2, 3, 4, 5]


def test_batches(app: Deployment) -> None:
    results = sorted(app.function("pairs").map(range(8)))

    assert [x for x, _ in results] == list(range(8))
    assert max(size for _, size in results) > 1


def test_methods_of_classes(app: Deployment) -> None:
    assert app.cls("Greeter")().greet.remote("you") == "hello you"


def test_single_use_containers_take_one_input_each(app: Deployment) -> None:
    assert app.function("pid_of_task").remote() != app.function("pid_of_task").remote()


def test_a_process_that_forks_goes_on_as_before(app: Deployment) -> None:
    assert [app.function("forked").remote(x) for x in (1, 2)] == [2, 4]
    assert app.function("forked").remote(3) == 6


def test_confined_functions_take_their_inputs(app: Deployment) -> None:
    assert app.function("confined").remote(1) == 2


def test_user_code_sees_the_command_line_of_the_stock_entrypoint(app: Deployment) -> None:
    assert app.function("command_line").remote() == ["_container_entrypoint.py", "modal._container_entrypoint"]


def test_cancelled_calls_stop_their_container_only(app: Deployment) -> None:
    call = app.function("nap").spawn(60)
    assert app.function("nap").remote(0) == 0

    call.cancel()

    with pytest.raises(modal.exception.Error, match="cancelled"):
        call.get(timeout=60)
    assert app.function("nap").remote(0) == 0


def page(engine: Engine, path: str) -> str:
    with urllib.request.urlopen(f"{engine.gateway_url}/{path}", timeout=60) as answer:
        return str(answer.read().decode())
