"""Containers ahead of need: for which functions there are any, and that they hold up no stop."""

from types import SimpleNamespace

import anyio
import pytest
from fakes.worker import DEADLINE, StillClock, a_task

from freehold.domain.ids import new_volume_id
from freehold.domain.volumes import VolumeMount
from freehold.worker.zygotes import spares as module
from freehold.worker.zygotes.spares import Spares


class Zygotes:
    async def wait_for(self, task):
        pass


@pytest.fixture
def spares(monkeypatch):
    monkeypatch.setattr(module, "_PAUSE", 0)
    return Spares(SimpleNamespace(zygotes=Zygotes()), most=1, clock=StillClock())


class OldSpare:
    """Of another function; while it leaves, the engine begins to stop."""

    def __init__(self, spares):
        self._spares = spares
        self.left = anyio.Event()

    async def leave(self):
        self._spares._group = None
        self.left.set()


async def test_a_stop_that_begins_while_room_is_made_is_no_error(spares):
    old = OldSpare(spares)
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as group:
            spares.open(group)
            spares._spares["fu-old"] = old
            spares.expect(a_task(function_id="fu-new"))
            await old.left.wait()
            await spares.close()
            group.cancel_scope.cancel()
    assert spares._spares == {}


@pytest.mark.parametrize(("sub_path", "is_wanted"), [((), True), (("a",), False)])
async def test_none_is_kept_for_a_function_that_mounts_a_part_of_a_volume(spares, sub_path, is_wanted):
    """That folder may be removed and made anew while the container waits."""
    task = a_task(function_id="fu-1", volumes=(VolumeMount(volume_id=new_volume_id(), path="/data", sub_path=sub_path),))
    async with anyio.create_task_group() as group:
        spares.open(group)
        spares.expect(task)
        assert spares.take(task) is None
        group.cancel_scope.cancel()
    assert ("fu-1" in spares._wanted) is is_wanted
