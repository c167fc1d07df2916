"""Tasks can be asked about while they run and after they have ended."""

import pytest

from freehold.control.services.task_history import TaskHistory
from freehold.domain.errors import NotFound
from freehold.domain.ids import TaskId
from freehold.domain.tasks import ExitKind, TaskExit, TaskState


async def test_a_task_is_known_before_and_after_its_end(plane):
    history = TaskHistory(tasks=plane.tasks, journal=plane.journal, store=plane.store)
    _, live = await plane.deploy()
    task = await plane.a_ready_task(live)
    assert (await history.get(task.id)).state is TaskState.READY

    await plane.tasks.record_exit(task.id, TaskExit(kind=ExitKind.CRASHED, code=3))
    ended = await history.get(task.id)

    assert (ended.state, ended.exit.code, ended.app_id) == (TaskState.ENDED, 3, live.function.app_id)


async def test_a_task_of_nobody_is_not_found(plane):
    with pytest.raises(NotFound):
        await TaskHistory(tasks=plane.tasks, journal=plane.journal, store=plane.store).get(TaskId("ta-unknown"))
