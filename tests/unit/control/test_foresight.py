"""What is deployed is told to the worker before it is called."""

import pytest

from freehold.control.controllers.foresight import Foresight
from freehold.domain.apps import AppState


@pytest.fixture
def foresight(plane):
    return Foresight(apps=plane.apps, launches=plane.launches, worker=plane.worker)


async def test_functions_of_a_deployed_app_are_expected_once(plane, foresight):
    app, first, second = await plane.deploy("first", "second")

    await foresight.step()
    await foresight.step()

    assert {task.function_id for task in plane.worker.expected} == {first.id, second.id}
    assert {(task.app_id, task.task_id, task.token) for task in plane.worker.expected} == {(app.id, "", "")}


async def test_a_new_version_is_expected_again(plane, foresight):
    app, first = await plane.deploy("first")
    await foresight.step()
    plane.worker.expected.clear()

    await plane.publish(app, first)
    await foresight.step()

    assert [task.function_id for task in plane.worker.expected] == [first.id]


async def test_an_app_that_runs_once_is_not(plane, foresight):
    app = await plane.an_app()
    function = await plane.define(app, image_id=(await plane.an_image()).id)
    await plane.publish(app, function, state=AppState.EPHEMERAL)

    await foresight.step()

    assert plane.worker.expected == []
