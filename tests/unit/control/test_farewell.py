"""The engine stops: who leaves, and who is left for the worker to interrupt."""

import asyncio

from freehold.control.controllers.farewell import Farewell
from freehold.domain.tasks import ExitKind, TaskExit, TaskState


def a_farewell(plane):
    return Farewell(tasks=plane.tasks, claims=plane.claims, worker=plane.worker, changed=plane.changed, clock=plane.clock)


async def test_an_idle_container_is_told_to_leave_and_waited_for(plane):
    _, live = await plane.deploy()
    task = await plane.a_ready_task(live)
    async with asyncio.TaskGroup() as group, asyncio.timeout(30):
        claiming = group.create_task(plane.claims.claim(task.id))
        await asyncio.sleep(0)
        saying = group.create_task(a_farewell(plane).say())
        assert (await claiming).inputs[0].kill_switch
        assert not saying.done()
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.FINISHED))
    assert saying.done()


async def test_a_container_that_is_not_ready_yet_is_killed(plane):
    _, live = await plane.deploy()
    task = plane.tasks.create(live.function, live.definition_id, "test")
    plane.tasks.record_started(task.id)
    async with asyncio.TaskGroup() as group, asyncio.timeout(30):
        group.create_task(a_farewell(plane).say())
        await asyncio.sleep(0)
        await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.STOPPED))
    assert plane.worker.killed == [task.id]


async def test_a_container_that_works_is_given_a_moment_and_no_new_input(plane):
    _, live = await plane.deploy()
    task = await plane.a_ready_task(live)
    await plane.call(live)
    await plane.claim(task)
    async with asyncio.timeout(30):
        await a_farewell(plane).say()
    assert task.state is TaskState.DRAINING
