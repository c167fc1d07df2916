"""What is counted of calls, requests and containers, and what is read from that."""

from datetime import timedelta

import pytest
from fakes.calls import World
from fakes.clock import FakeClock
from modal_proto import api_pb2

from freehold.control.controllers.metrics import Historian
from freehold.control.services.activity import Activity
from freehold.control.services.metrics import Metrics
from freehold.domain.apps import App, AppState
from freehold.domain.errors import Unavailable
from freehold.domain.figures import together
from freehold.domain.functions import Function, WebKind, WebTarget
from freehold.domain.ids import AppId, FunctionId, new_function_id
from freehold.domain.rollups import floor
from freehold.domain.tasks import ExitKind, TaskExit, TaskState

R = api_pb2.GenericResult
HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)


class Measured(World):
    """A world whose calls are counted."""

    def __init__(self, *, store=None, clock=None):
        super().__init__(clock=clock or FakeClock(), store=store)
        self.activity = Activity(calls=self.calls, tasks=self.tasks, clock=self.clock)
        self.metrics = self.anew()

    def anew(self):
        """As an engine begins that finds the store of the one before."""
        return Metrics(store=self.store, counters=self.counters, activity=self.activity, clock=self.clock, kept=WEEK)

    async def figures(self, since=HOUR):
        now = self.clock.now()
        return (await self.metrics.summary([self.function.id], since=now - since)).figures

    async def run(self, *, status=R.GENERIC_STATUS_SUCCESS, waits=0.0, takes=0.0):
        task = self.a_task()
        await self.call()
        self.clock.move(waits)
        (item,) = await self.claim(task)
        self.clock.move(takes)
        await self.answer(task, item, status=status)
        return task

    async def named(self, function, *, app="shop", environment="main"):
        async with self.store.transaction() as tx:
            await tx.apps.put(
                App(
                    id=function.app_id,
                    environment=environment,
                    description=app,
                    state=AppState.DEPLOYED,
                    name=app,
                    created_at=self.clock.now(),
                )
            )
            await tx.functions.put(function)


@pytest.fixture
def world():
    return Measured()


def a_target(function, kind=WebKind.ASGI):
    return WebTarget(function_id=function.id, app_id=function.app_id, name="f", kind=kind)


class TestCalls:
    async def test_a_call_counts_when_its_result_is_there(self, world):
        await world.run(waits=2.0, takes=1.0)

        figures = await world.figures()
        assert (figures.calls, figures.succeeded, figures.errors) == (1, 1, 0)
        assert (figures.latency.total, figures.execution.total) == (3.0, 1.0)

    @pytest.mark.parametrize(
        ("status", "name"),
        [
            (R.GENERIC_STATUS_FAILURE, "failed"),
            (R.GENERIC_STATUS_INIT_FAILURE, "failed"),
            (R.GENERIC_STATUS_TIMEOUT, "timed_out"),
            (R.GENERIC_STATUS_TERMINATED, "cancelled"),
        ],
    )
    async def test_each_kind_of_end_is_counted_apart(self, world, status, name):
        await world.run(status=status)

        figures = await world.figures()
        assert (figures.calls, getattr(figures, name)) == (1, 1)

    async def test_what_no_container_ever_had_has_waited_and_not_run(self, world):
        call = await world.call()
        world.clock.move(4.0)
        await world.calls.cancel(call.id)

        figures = await world.figures()
        assert (figures.cancelled, figures.latency.total, figures.execution.count) == (1, 4.0, 0)

    async def test_a_try_after_a_lost_container_belongs_to_the_same_call(self, world):
        task = world.a_task()
        await world.call()
        await world.claim(task)
        world.clock.move(5.0)
        await world.tasks.record_exit(task.id, TaskExit(kind=ExitKind.LOST))
        another = world.a_task()
        (item,) = await world.claim(another)
        world.clock.move(1.0)
        await world.answer(another, item)

        figures = await world.figures()
        assert (figures.calls, figures.latency.total, figures.execution.total) == (1, 6.0, 1.0)

    async def test_batches_are_counted_with_their_sizes(self, world):
        task = world.a_task()
        await world.call(inputs=3)
        await world.claim(task, batch=4)

        figures = await world.figures()
        assert (figures.batches, figures.batched, figures.largest_batch, figures.mean_batch) == (1, 3, 3, 3.0)


class TestRequests:
    @pytest.mark.parametrize(
        ("status", "outcome", "kind"),
        [(200, "succeeded", 2), (404, "succeeded", 4), (502, "failed", 5), (504, "timed_out", 5), (0, "cancelled", 0)],
    )
    async def test_a_response_counts_by_its_status(self, world, status, outcome, kind):
        world.counters.request_ended(a_target(world.function), b"/", "ta-1", status, latency=0.2, execution=0.1)

        figures = await world.figures()
        assert (getattr(figures, outcome), figures.statuses[kind], figures.calls, figures.requests) == (1, 1, 1, 1)

    async def test_an_odd_status_of_a_container_is_an_error_and_no_more(self, world):
        world.counters.request_ended(a_target(world.function), b"/", "ta-1", 999, latency=0.2, execution=0.1)

        assert (await world.figures()).errors == 1

    def test_requests_of_servers_are_remembered_one_by_one_and_others_are_not(self, world):
        server = a_target(world.function, WebKind.SERVER)
        other = Function(id=new_function_id(), app_id=AppId("ap-x"), tag="g")
        world.counters.request_ended(server, b"/a?key=secret", "ta-1", 200, latency=0.2, execution=0.1)
        world.counters.request_ended(a_target(other), b"/b", "ta-1", 200, latency=0.2, execution=0.1)

        (served,) = world.counters.requests_of(world.function.id)
        assert (served.path, served.task_id, served.status, served.seconds) == ("/a", "ta-1", 200, 0.2)
        assert not world.counters.requests_of(other.id)

    def test_so_many_are_remembered_and_no_more(self, world):
        for number in range(1001):
            world.counters.request_ended(a_target(world.function, WebKind.SERVER), b"/%d" % number, "ta-1", 200, latency=0.2, execution=0.1)

        assert [served.path for served in world.counters.requests_of(world.function.id)][::999] == ["/1", "/1000"]


class TestContainers:
    async def test_a_start_counts_when_the_container_is_ready(self, world):
        task = world.a_task()
        world.clock.move(0.7)
        world.tasks.record_ready(task)
        world.tasks.record_ready(task)

        assert (await world.figures()).starts.total == pytest.approx(0.7)

    @pytest.mark.parametrize(
        ("kind", "is_ready", "broken"),
        [
            (ExitKind.FINISHED, True, 0),
            (ExitKind.STOPPED, True, 0),
            (ExitKind.CRASHED, True, 1),
            (ExitKind.OUT_OF_MEMORY, True, 1),
            (ExitKind.LOST, True, 1),
            (ExitKind.FINISHED, False, 1),
        ],
    )
    async def test_an_end_counts_and_is_an_error_if_nobody_wanted_it(self, world, kind, is_ready, broken):
        task = world.a_task()
        if is_ready:
            world.tasks.record_ready(task)
        await world.tasks.record_exit(task.id, TaskExit(kind=kind))

        figures = await world.figures()
        assert (figures.ended, figures.broken, figures.all_containers) == (1, broken, 1)

    async def test_what_builds_an_image_is_none_of_a_function(self, world):
        task = world.tasks.create(world.function, None, "test", is_build=True)
        world.tasks.record_ready(task)
        await world.tasks.record_exit(task.id, TaskExit(kind=ExitKind.CRASHED))

        assert (await world.figures()).ended == 0

    async def test_those_that_are_left_are_counted_now_rather_than_when_they_were_looked_at(self, world):
        world.a_task()
        world.metrics.sample()
        world.a_task()

        assert (await world.figures()).all_containers == 2


class TestNow:
    async def test_it_says_what_waits_what_runs_and_for_how_long(self, world):
        task = world.a_task()
        await world.call(inputs=1)
        await world.claim(task)
        await world.call(inputs=2)
        world.clock.move(3.0)

        now = world.activity.of(world.function.id)
        assert (now.queued, now.running, now.waiting) == (2, 1, 3.0)
        assert now.containers == {TaskState.READY: 1}
        assert world.activity.of_all() == now

    def test_of_a_function_that_nobody_calls_there_is_nothing(self, world):
        now = world.activity.of(FunctionId("fu-none"))
        assert (now.queued, now.running, now.all_containers) == (0, 0, 0)


class TestHistory:
    async def test_what_was_counted_is_read_from_the_store_at_each_width(self, world):
        await world.named(world.function)
        for _ in range(3):
            await world.run()
            world.clock.move(10)
            await world.metrics.flush()

        now = world.clock.now()
        async with world.store.transaction() as tx:
            rows = {width: await tx.metrics.between(width, now - HOUR, now) for width in (10, 60, 600)}
        assert {width: [row.figures.calls for row in found] for width, found in rows.items()} == {10: [1, 1, 1], 60: [3], 600: [3]}
        assert (await world.figures()).calls == 3

    async def test_nothing_is_counted_twice_before_and_after_it_is_written(self, world):
        await world.named(world.function)
        await world.run()
        before = await world.figures()
        await world.metrics.flush()
        await world.run()

        assert (before.calls, (await world.figures()).calls) == (1, 2)
        series = await world.metrics.series([world.function.id], since=world.clock.now() - timedelta(minutes=10))
        assert (series.width, together(point.figures for point in series.points).calls) == (10, 2)

    async def test_a_series_has_the_last_point_that_is_not_over(self, world):
        world.clock.move(7)
        await world.run()

        now = world.clock.now()
        series = await world.metrics.series([world.function.id], since=now - timedelta(minutes=1), width=10)
        assert series.points[-1].start == floor(now, 10)
        assert series.points[-1].figures.calls == 1

    async def test_points_of_a_time_long_gone_are_as_wide_as_they_are_kept(self, world):
        series = await world.metrics.series([world.function.id], since=world.clock.now() - timedelta(days=3), width=10)
        assert series.width == 600

    async def test_what_the_next_engine_counts_is_added_to_what_is_there(self, world):
        await world.named(world.function)
        await world.run()
        await world.metrics.flush()
        world.metrics = world.anew()
        await world.metrics.restore()
        await world.run()
        await world.metrics.flush()

        assert (await world.figures()).calls == 2

    async def test_while_the_store_refuses_nothing_is_lost(self, world, monkeypatch):
        await world.named(world.function)
        await world.run()
        with monkeypatch.context() as broken:
            broken.setattr(world.store._everything.metrics, "put", refuse)
            await world.metrics.flush()
        assert (await world.figures()).calls == 1
        world.clock.move(10)
        await world.run()
        await world.metrics.flush()

        world.metrics = world.anew()
        assert (await world.figures()).calls == 2

    async def test_gauges_are_means_over_all_looks(self, world):
        await world.named(world.function)
        world.a_task()
        await world.call(inputs=4)
        world.metrics.sample()
        world.a_task()
        world.metrics.sample()

        figures = await world.figures()
        assert (figures.mean_containers, figures.most_containers, figures.mean_queued) == (1.5, 2, 4.0)

    async def test_each_width_is_deleted_in_its_own_time(self, world):
        await world.named(world.function)
        await world.run()
        await world.metrics.flush()
        start = world.clock.now()
        left = []
        for passed in (2 * HOUR, timedelta(days=2), timedelta(days=8)):
            world.clock.move((start + passed - world.clock.now()).total_seconds())
            await world.metrics.prune()
            async with world.store.transaction() as tx:
                left.append([width for width in (10, 60, 600) if await tx.metrics.between(width, start - HOUR, start + HOUR)])
        assert left == [[60, 600], [600], []]

    async def test_the_controller_writes_at_round_times_and_looks_in_between(self, world):
        await world.named(world.function)
        historian = Historian(metrics=world.metrics, clock=world.clock)
        world.clock.move(3)
        pauses = []
        for _ in range(6):
            await world.run()
            pauses.append(await historian.step())
            world.clock.move(pauses[-1])

        assert pauses == [2.0, 2.0, 2.0, 1.0, 2.0, 2.0]
        async with world.store.transaction() as tx:
            (first, *_) = await tx.metrics.between(10, world.clock.now() - HOUR, world.clock.now())
        assert first.start == floor(first.start, 10)


class TestExposition:
    async def test_figures_go_by_names_and_never_fall(self, world):
        await world.named(world.function)
        await world.run()
        first = await world.metrics.exposition()
        await world.metrics.flush()
        await world.run()
        second = await world.metrics.exposition()

        assert first[("shop", "f")][0].calls == 1
        assert second[("shop", "f")][0].calls == 2
        assert second[("shop", "f")][1].all_containers == 2

    async def test_functions_of_one_name_are_one_and_other_environments_are_told(self, world):
        twin = Function(id=new_function_id(), app_id=AppId("ap-y"), tag="Model.*")
        staged = Function(id=new_function_id(), app_id=AppId("ap-z"), tag="Model.*")
        again = Function(id=new_function_id(), app_id=AppId("ap-y"), tag="Model.*", base_id=twin.id)
        await world.named(twin)
        await world.named(again)
        await world.named(staged, environment="dev")
        for function in (twin, again, staged):
            world.counters.call_ended(function.id, function.app_id, R.GENERIC_STATUS_SUCCESS, 0.1, 0.1)

        found = await world.metrics.exposition()
        assert {labels: figures.calls for labels, (figures, _) in found.items()} == {("shop", "Model"): 2, ("dev/shop", "Model"): 1}

    async def test_functions_beyond_the_first_thousand_are_together(self, world):
        for number in range(1003):
            function = Function(id=new_function_id(), app_id=AppId("ap-x"), tag=f"f{number}")
            await world.named(function)
            world.counters.call_ended(function.id, function.app_id, R.GENERIC_STATUS_SUCCESS, 0.1, 0.1)
        found = await world.metrics.exposition()

        assert len(found) == 1001
        assert found["other", "other"][0].calls == 3

    async def test_what_has_no_name_is_counted_still(self, world):
        await world.run()

        assert (await world.metrics.exposition())["other", "other"][0].calls == 1


async def refuse(_buckets):
    text = "The disk is full."
    raise Unavailable(text)
