"""How many containers there are, and when."""

import time
from collections.abc import Iterator

import pytest

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.waiting import eventually


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "scaling.py") as app:
        yield app


def test_nothing_runs_until_it_is_called_and_nothing_after_the_window(app: Deployment) -> None:
    eventually(lambda: not app.containers(), within=30, what="No container before the first call")

    container = app.function("plain").remote()

    assert container in [task.task_id for task in app.containers()]
    eventually(lambda: not app.containers(), within=20, what="No container after the window of 2 s")


def test_a_warm_container_takes_the_next_call(app: Deployment) -> None:
    assert len({app.function("plain").remote() for _ in range(3)}) == 1


def test_many_inputs_get_many_containers(app: Deployment) -> None:
    assert len(set(app.function("plain").map([1.5] * 4))) > 1


def test_max_containers_is_a_maximum(app: Deployment) -> None:
    used = list(app.function("at_most_two").map([0.5] * 8))

    assert len(used) == 8
    assert len(set(used)) <= 2


def test_buffer_containers_are_there_while_there_is_work(app: Deployment) -> None:
    eventually(lambda: not app.containers(), within=30, what="A quiet start")
    call = app.function("one_more").spawn(5)

    eventually(lambda: len(app.containers()) == 2, within=20, what="One that works and one in reserve")

    call.get(timeout=30)
    eventually(lambda: not app.containers(), within=30, what="Neither, once the work is done")


def test_a_container_takes_as_many_inputs_as_it_may(app: Deployment) -> None:
    app.function("many_at_once").remote(0)  # it is warm
    started = time.monotonic()

    used = list(app.function("many_at_once").map([1] * 8))

    assert len(set(used)) == 1
    assert time.monotonic() - started < 4, "8 inputs of 1 s each, together"


def test_a_target_below_the_maximum_does_not_lose_inputs(app: Deployment) -> None:
    assert len(list(app.function("aims_lower").map([0.2] * 12))) == 12


def test_a_single_use_container_is_used_once(app: Deployment) -> None:
    used = [app.function("used_once").remote() for _ in range(3)]

    assert len(set(used)) == 3


def test_the_current_numbers_can_be_asked_for(app: Deployment) -> None:
    call = app.function("at_most_two").spawn(4)

    eventually(lambda: app.function("at_most_two").get_current_stats().num_running_inputs == 1, within=20, what="One input that is running")

    assert call.get(timeout=30)


def test_the_settings_can_be_changed_while_it_runs(engine: Engine) -> None:
    with deployed(engine, "warm.py", name="warm-no-more") as app:
        eventually(app.containers, within=30, what="The container that min_containers asks for")

        app.function("always_there").autoscaler.update(min_containers=0)

        eventually(lambda: not app.containers(), within=20, what="No container after the window of 2 s")


def test_min_containers_are_there_before_the_first_call(engine: Engine) -> None:
    with deployed(engine, "warm.py") as app:
        [task] = eventually(app.containers, within=30, what="A container that nobody asked for")

        assert app.function("always_there").remote() == task.task_id
