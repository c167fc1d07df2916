"""How many containers there are, and when."""

import json
from collections.abc import Iterator

import modal
import pytest

from conformance.deployment import Deployment, Place, deployed
from conformance.engine import Engine
from conformance.waiting import eventually

SOON = 60  # seconds; a busy machine may need them


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "scaling.py") as app:
        yield app


def test_nothing_runs_until_it_is_called_and_nothing_after_the_window(app: Deployment, place: Place) -> None:
    eventually(lambda: not app.containers(), within=SOON, what="No container before the first call")

    call = app.function("plain").spawn(place.name)
    (container,) = eventually(app.containers, within=SOON, what="A container that works")
    place.go()

    assert call.get(timeout=SOON) == container.task_id
    eventually(lambda: not app.containers(), within=SOON, what="No container after the window of 2 s")


def test_a_warm_container_takes_the_next_call(app: Deployment) -> None:
    assert len({app.function("kept").remote() for _ in range(3)}) == 1


def test_many_inputs_get_many_containers(app: Deployment, place: Place) -> None:
    """The first ones wait until two are at work at a time, which one container is not given."""
    assert len(set(app.function("plain").map([place.name] * 4, kwargs={"count": 2}))) > 1


def test_max_containers_is_a_maximum(app: Deployment) -> None:
    used = list(app.function("at_most_two").map([0.5] * 8))

    assert len(used) == 8
    assert len(set(used)) <= 2


def test_buffer_containers_are_there_while_there_is_work(app: Deployment, place: Place) -> None:
    app.rest()
    call = app.function("one_more").spawn(place.name)

    eventually(lambda: len(app.containers()) == 2, within=SOON, what="One that works and one in reserve")

    place.go()
    call.get(timeout=SOON)
    eventually(lambda: not app.containers(), within=SOON, what="Neither, once the work is done")


def test_a_container_takes_as_many_inputs_as_it_may(app: Deployment, place: Place) -> None:
    """None of them ends before all eight are at work."""
    assert len(set(app.function("many_at_once").map([place.name] * 8, kwargs={"count": 8}))) == 1


def test_a_target_below_the_maximum_does_not_lose_inputs(app: Deployment) -> None:
    assert len(list(app.function("aims_lower").map([0.2] * 12))) == 12


class TestTarget:
    def test_containers_are_planned_by_the_target(self, app: Deployment, place: Place) -> None:
        app.rest()
        calls = [app.function("aims_at_two").spawn(place.name) for _ in range(4)]

        eventually(lambda: len(app.containers()) == 2, within=SOON, what="One container for every two inputs")

        place.go()
        assert all(call.get(timeout=SOON) for call in calls)

    def test_and_take_up_to_their_maximum_when_there_is_no_other(self, app: Deployment, place: Place) -> None:
        """None of them ends before all four are at work."""
        app.function("takes_four").remote()  # it is warm, and has settled on its target

        assert len(set(app.function("takes_four").map([place.name] * 4, kwargs={"count": 4}))) == 1


class TestVariants:
    def test_each_value_scales_by_itself(self, app: Deployment, place: Place) -> None:
        sized = app.cls("Sized")
        calls = [sized(x=x).container.spawn(0, place.name, 2) for x in (1, 2)]

        one, two = (call.get(timeout=SOON) for call in calls)

        assert one != two

    def test_a_variant_has_a_maximum_of_its_own(self, app: Deployment) -> None:
        one_only = app.cls("Sized").with_options(max_containers=1)(x=3)

        assert len(set(one_only.container.map([0.3] * 4))) == 1

    def test_a_variant_shares_its_containers_as_it_is_told(self, app: Deployment, place: Place) -> None:
        shared = app.cls("Sized").with_options(max_containers=1).with_concurrency(max_inputs=4)(x=4)

        assert len(set(shared.container.map([0] * 4, kwargs={"place": place.name, "count": 4}))) == 1

    def test_a_variant_batches_as_it_is_told(self, app: Deployment) -> None:
        wide = app.cls("Batched").with_batching(max_batch_size=6, wait_ms=2000)()

        assert max(wide.sizes.map(range(12))) > 2

    def test_settings_of_one_value_are_changed_alone(self, app: Deployment) -> None:
        seven = app.cls("Sized")(x=7)
        before = {task.task_id for task in app.containers()}
        with pytest.warns(modal.exception.DeprecationError):
            seven.update_autoscaler(min_containers=1)

        new = eventually(lambda: {task.task_id for task in app.containers()} - before, within=SOON, what="The container of the one value")

        assert {seven.container.remote()} == new
        with pytest.warns(modal.exception.DeprecationError):
            seven.update_autoscaler(min_containers=0)

    def test_variants_can_be_listed(self, engine: Engine, app: Deployment) -> None:
        app.cls("Sized")(x=11).container.remote()

        listed = engine.modal("function", "variants", "scaling/Sized.*", "--json").succeeded().output

        assert {"x": 11} in [variant["parameters"] for variant in json.loads(listed)]


class TestSettings:
    def test_the_commands_show_and_change_them(self, engine: Engine, app: Deployment) -> None:
        name = "scaling/at_most_two"
        engine.modal("function", "autoscaler", "update", name, "--max-containers", "3").succeeded()

        shown = engine.modal("function", "autoscaler", "settings", name, "--json").succeeded().output

        assert json.loads(shown)["current_settings"] == {
            "min_containers": 0,
            "max_containers": 3,
            "scaledown_window": 2,
            "buffer_containers": 0,
        }
        assert [event["setting"] for event in json.loads(shown)["override_events"]] == ["max_containers"]

    def test_wrong_ones_are_refused_in_words(self, app: Deployment) -> None:
        with pytest.raises(modal.exception.Error, match=r"max_containers .1. is below min_containers .5."):
            app.function("plain").autoscaler.update(min_containers=5, max_containers=1)

    def test_a_function_is_found_by_its_id(self, app: Deployment) -> None:
        found = modal.Function.from_id(app.function("plain").hydrate().object_id)

        assert found.remote().startswith("ta-")

    def test_what_no_machine_has_is_told_at_deploy_and_runs_all_the_same(self, app: Deployment) -> None:
        assert "wants_a_bigger_machine asks for cpu=512" in app.output
        assert app.function("wants_a_bigger_machine").remote().startswith("ta-")


def test_a_single_use_container_is_used_once(app: Deployment) -> None:
    used = [app.function("used_once").remote() for _ in range(3)]

    assert len(set(used)) == 3


def test_the_current_numbers_can_be_asked_for(app: Deployment, place: Place) -> None:
    call = app.function("at_most_two").spawn(0, place.name)

    eventually(
        lambda: app.function("at_most_two").get_current_stats().num_running_inputs == 1, within=SOON, what="One input that is running"
    )

    place.go()
    assert call.get(timeout=SOON)


def test_the_settings_can_be_changed_while_it_runs(engine: Engine) -> None:
    with deployed(engine, "warm.py", name="warm-no-more") as app:
        eventually(app.containers, within=SOON, what="The container that min_containers asks for")

        app.function("always_there").autoscaler.update(min_containers=0)

        eventually(lambda: not app.containers(), within=SOON, what="No container after the window of 2 s")


def test_min_containers_are_there_before_the_first_call(engine: Engine) -> None:
    with deployed(engine, "warm.py") as app:
        [task] = eventually(app.containers, within=SOON, what="A container that nobody asked for")

        assert app.function("always_there").remote() == task.task_id
