"""A worker whose predecessor was killed."""

import json
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest
from fakes.worker import FakeNetworks, FakeRuntime, FakeSnapshots, RecordedReports, StillClock, a_task, a_worker

from freehold.domain.errors import Unavailable
from freehold.domain.tasks import ExitKind, TaskExit
from freehold.worker import adoption
from freehold.worker.logs import ContainerLog
from freehold.worker.starting import Start


@pytest.fixture
def machine(tmp_path):
    """What outlives an engine."""
    return {"runtime": FakeRuntime(), "snapshots": FakeSnapshots(tmp_path), "networks": FakeNetworks()}


@pytest.fixture
def reports():
    return RecordedReports()


@pytest.fixture
def orphan(tmp_path, machine):
    """A task of a worker that was killed: nothing of it was cleaned up."""

    async def make(task_id="ta-1", **changes):
        log = ContainerLog(sink=lambda _: None, clock=StillClock())
        async with anyio.create_task_group() as companions:
            worker = a_worker(tmp_path, **machine)
            start = Start(a_task(task_id=task_id, **changes), worker._shop, worker._spares)
            await start(AsyncExitStack(), companions, log)
            companions.cancel_scope.cancel()
        return machine["runtime"].running[task_id]

    return make


@pytest.fixture
def successor(tmp_path, machine, reports):
    """A worker on the same machine, running, and what it has adopted."""

    @asynccontextmanager
    async def run(*candidates):
        worker = a_worker(tmp_path, reports=reports, **machine)
        adopted = await worker.adopt(candidates)
        async with worker:
            yield worker, adopted
        assert machine["runtime"].running == {}
        assert [path for folder in ("roots", "run/tasks") for path in (tmp_path / folder).glob("*")] == []

    return run


def record_of(tmp_path, task_id="ta-1"):
    return tmp_path / "run/tasks" / task_id / "record.json"


class TestAdopted:
    async def test_its_container_goes_on_and_nothing_is_started(self, orphan, successor, machine, reports):
        container = await orphan()

        async with successor("ta-1") as (worker, adopted):
            worker.set_desired({"ta-1": a_task()})
            await reports.of("started", "ta-1")

            assert adopted == {"ta-1"}
            assert machine["runtime"].started == [container]
            assert container.signals == []

    async def test_its_output_is_read_on(self, orphan, successor, reports):
        container = await orphan()
        container.say("while nobody was there\n")

        async with successor("ta-1"):
            container.say("and afterwards\n")
            container.end(1)

            assert (await reports.of("exited", "ta-1")).kind is ExitKind.CRASHED
        assert reports.text("ta-1") == "while nobody was there\nand afterwards\n"

    async def test_an_end_of_which_nobody_knows_how_is_a_loss(self, orphan, successor, reports):
        container = await orphan()

        async with successor("ta-1"):
            container.end(None)

            assert await reports.of("exited", "ta-1") == TaskExit(kind=ExitKind.LOST)

    async def test_it_is_stopped_like_any_other(self, orphan, successor, reports):
        await orphan()

        async with successor("ta-1") as (worker, _):
            worker.set_desired({"ta-1": a_task()})
            await reports.of("started", "ta-1")
            worker.set_desired({})

            assert (await reports.of("exited", "ta-1")).kind is ExitKind.STOPPED

    async def test_its_network_is_kept_and_its_neighbours_is_not(self, orphan, successor, machine):
        await orphan()
        await orphan("ta-2")

        async with successor("ta-1"):
            assert set(machine["snapshots"].roots) == set(machine["runtime"].running) == {"ta-1"}


class TestNotAdopted:
    @pytest.mark.parametrize("change", [{"format": adoption.FORMAT + 1}, {"mark": {"pid": 1}}, {"mark": None}])
    async def test_a_record_of_another_version_is_not_understood(self, orphan, successor, tmp_path, machine, change):
        await orphan()
        record_of(tmp_path).write_text(json.dumps(json.loads(record_of(tmp_path).read_text()) | change))

        async with successor("ta-1") as (_, adopted):
            assert not adopted
            assert machine["runtime"].running == {}

    async def test_a_record_that_was_cut_off_is_none(self, orphan, successor, tmp_path):
        await orphan()
        record_of(tmp_path).write_text(record_of(tmp_path).read_text()[:20])

        async with successor("ta-1") as (_, adopted):
            assert not adopted

    async def test_a_task_that_nobody_asks_for_is_swept(self, orphan, successor, machine):
        await orphan()

        async with successor() as (_, adopted):
            assert not adopted
            assert machine["runtime"].running == {}

    async def test_a_container_that_has_ended_leaves_nothing(self, orphan, successor, machine):
        await (await orphan()).destroy()

        async with successor("ta-1") as (_, adopted):
            assert not adopted
            assert machine["networks"].present == {}

    async def test_a_network_that_is_gone_takes_the_container_with_it(self, orphan, successor, machine):
        async def refuse(key, **_):
            msg = "The interface is gone."
            raise Unavailable(msg)

        await orphan()
        machine["networks"].adopt = refuse

        async with successor("ta-1") as (_, adopted):
            assert not adopted
            assert machine["runtime"].running == {}

    async def test_a_second_death_in_the_middle_leaves_all_for_the_next(self, orphan, successor, tmp_path, machine):
        await orphan()
        await a_worker(tmp_path, **machine).adopt(["ta-1"])  # and killed

        async with successor("ta-1") as (_, adopted):
            assert adopted == {"ta-1"}
