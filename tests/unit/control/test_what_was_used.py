"""What containers are read to have used, as it gets to apps, functions, calls and bills."""

from datetime import timedelta
from decimal import Decimal

import pytest
from fakes.control import ControlPlane
from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from freehold.control.rpc.cost import CostRpcs
from freehold.domain.calls import CallKind, Invocation
from freehold.domain.cost import Prices
from freehold.domain.creation import Creation
from freehold.domain.errors import InvalidRequest
from freehold.domain.gpus import Gpu
from freehold.domain.usage import GIB, Reading, Usage
from freehold.store.prices import PriceFile
from freehold.wire.worker import TaskSample

PRICES = "[per_second]\ncpu_core = 0.5\nmemory_gib = 0.25\n"


def read(plane, task, cpu=0.0, gib=0.0):
    """The worker reads the counters of a container."""
    reading = Reading(at=plane.clock.now(), cpu_us=round(cpu * 1e6), memory_bytes=round(gib * GIB))
    plane.reports.tasks_sampled([TaskSample(task_id=task.id, reading=reading)])


@pytest.fixture
async def shop(plane):
    """The app, its function f, and a ready container of it, read when it was ready."""
    app, live = await plane.deploy("f", max_concurrent_inputs=10)
    task = await plane.a_ready_task(live)
    read(plane, task)
    return app, live, task


class TestSums:
    async def test_a_function_and_its_app_have_what_their_containers_use(self, plane, shop):
        app, live, task = shop
        plane.clock.move(10)
        read(plane, task, cpu=2.0, gib=0.5)

        assert await plane.usage.of(live.id) == Usage(cpu_core_seconds=2.0, memory_gib_seconds=5.0)
        assert await plane.usage.of(app.id) == await plane.usage.of(task.id) == await plane.usage.of(live.id)

    async def test_its_figures_have_what_one_container_used_on_average_and_at_most(self, plane, shop):
        _, live, task = shop
        for cpu, gib in ((2.0, 0.5), (3.0, 1.5)):
            plane.clock.move(10)
            read(plane, task, cpu=cpu, gib=gib)

        [(function_id, _, figures)] = plane.counters.peek()
        assert (function_id, figures.measured, figures.mean_cpu, figures.most_cpu) == (live.id, 20.0, 0.15, 0.2)
        assert (figures.mean_memory, figures.most_memory) == (0.75, 1.5)

    async def test_since_counts_by_whole_hours(self, plane, shop):
        _, live, task = shop
        for cpu in (1.0, 3.0):
            plane.clock.move(3600)
            read(plane, task, cpu=cpu)

        assert (await plane.usage.of(live.id, plane.clock.now())).cpu_core_seconds == 2.0
        assert (await plane.usage.of(live.id)).cpu_core_seconds == 3.0

    async def test_variants_count_as_their_function(self, plane, shop):
        _, live, _ = shop
        bound = await plane.functions.bind(live.id, api_pb2.FunctionBindParamsRequest(serialized_params=b"params"))
        task = await plane.a_ready_task(bound)
        plane.clock.move(1)
        read(plane, task, cpu=1.0)

        assert (await plane.usage.of(live.id)).cpu_core_seconds == 1.0

    async def test_gpus_are_held_as_long_as_the_container_lives(self, tmp_path):
        plane = ControlPlane(tmp_path, gpus=[Gpu(index=0, name="Tesla T4", memory_mib=16_000)])
        _, live = await plane.deploy("f")
        task = plane.tasks.create(live.function, live.definition_id, "test", gpus=(0,))
        plane.tasks.record_started(task.id)
        plane.clock.move(4)
        read(plane, task)

        assert (await plane.usage.of(live.id)).gpu_seconds == {"Tesla T4": 4.0}
        plane.log_store.close()

    async def test_what_is_not_known_has_used_nothing(self, plane):
        assert await plane.usage.of("fc-" + "x" * 22) == Usage()

    async def test_a_disk_that_is_full_loses_nothing(self, plane, shop, monkeypatch):
        _, live, task = shop
        plane.clock.move(1)
        read(plane, task, cpu=1.0)
        with monkeypatch.context() as patch:
            patch.setattr(plane.store, "transaction", lambda: (_ for _ in ()).throw(OSError("full")))
            with pytest.raises(OSError, match="full"):
                await plane.usage.flush()
        plane.clock.move(1)
        read(plane, task, cpu=2.0)

        assert (await plane.usage.of(live.id)).cpu_core_seconds == 2.0


class TestCalls:
    async def test_a_call_has_the_cpu_of_the_time_in_which_it_ran_alone(self, plane, shop):
        _, live, task = shop
        call = await plane.call(live)
        [item] = await plane.claim(task)
        plane.clock.move(2)
        await plane.answer(task, item)
        plane.clock.move(8)
        read(plane, task, cpu=1.0, gib=1.0)

        assert await plane.usage.of(call.id) == Usage(cpu_core_seconds=1.0, memory_gib_seconds=2.0)

    async def test_two_that_ran_together_share(self, plane, shop):
        _, live, task = shop
        calls = [await plane.call(live) for _ in range(2)]
        items = [(await plane.claim(task))[0] for _ in calls]
        plane.clock.move(4)
        for item in items:
            await plane.answer(task, item)
        read(plane, task, cpu=3.0)

        assert [(await plane.usage.of(call.id)).cpu_core_seconds for call in calls] == [1.5, 1.5]

    async def test_one_that_runs_on_is_charged_as_it_runs(self, plane, shop):
        _, live, task = shop
        call = await plane.call(live)
        [item] = await plane.claim(task)
        seen = []
        for cpu in (1.0, 3.0):
            plane.clock.move(5)
            read(plane, task, cpu=cpu)
            seen.append((await plane.usage.of(call.id)).cpu_core_seconds)
        await plane.answer(task, item)

        assert seen == [1.0, 3.0]

    async def test_the_start_of_a_container_is_its_functions_alone(self, plane):
        _, live = await plane.deploy("f")
        task = plane.tasks.create(live.function, live.definition_id, "test")
        plane.tasks.record_started(task.id)
        call = await plane.call(live)
        plane.clock.move(3)
        [item] = await plane.claim(task)
        plane.clock.move(1)
        await plane.answer(task, item)
        read(plane, task, cpu=4.0)

        assert (await plane.usage.of(call.id)).cpu_core_seconds == 1.0
        assert (await plane.usage.of(live.id)).cpu_core_seconds == 4.0

    async def test_of_a_spawned_call_it_is_known_after_a_restart(self, plane, shop):
        _, live, task = shop
        call = await plane.call(live, kind=CallKind.UNARY, invocation=Invocation.ASYNC)
        [item] = await plane.claim(task)
        plane.clock.move(1)
        await plane.answer(task, item)
        read(plane, task, cpu=2.0)
        await plane.usage.flush()

        again = ControlPlane(plane.settings.root, store=plane.store, clock=plane.clock)

        assert (await again.usage.of(call.id)).cpu_core_seconds == 2.0
        again.log_store.close()


async def test_a_container_that_goes_on_over_a_restart_is_charged_for_that_time_too(plane, shop):
    _, live, task = shop
    plane.clock.move(5)
    read(plane, task, cpu=2.0)
    await plane.usage.flush()
    await plane.journal.flush()
    again = ControlPlane(plane.settings.root, store=plane.store, clock=plane.clock)
    again.worker.left = {task.id}
    await again.restart.restore()
    await again.usage.restore()

    plane.clock.move(20)
    read(again, task, cpu=3.0, gib=1.0)

    used = await again.usage.of(live.id)
    assert (used.cpu_core_seconds, used.memory_gib_seconds) == (3.0, 20.0)
    again.log_store.close()


class TestCurves:
    async def test_a_container_has_a_point_for_each_reading(self, plane, shop):
        *_, task = shop
        plane.clock.move(5)
        read(plane, task, cpu=2.5, gib=1.0)

        assert [(point.cpu_cores, point.memory_bytes) for point in plane.usage.samples(task.id)] == [(0.0, 0), (0.5, GIB)]

    async def test_only_the_last_quarter_of_an_hour_is_kept(self, plane, shop):
        *_, task = shop
        for _ in range(200):
            plane.clock.move(5)
            read(plane, task)

        points = plane.usage.samples(task.id)

        assert len(points) == 180
        assert points[-1].at - points[0].at == timedelta(seconds=179 * 5)


class TestCost:
    @pytest.fixture
    async def used(self, plane, shop):
        """Two hours: in the first 2 core-seconds, in the second 4, and 3 GiB-seconds."""
        app, live, task = shop
        (plane.settings.root / "prices.toml").write_text(PRICES)
        read(plane, task, cpu=2.0)
        plane.clock.move(3600)
        read(plane, task, cpu=5.0)
        plane.clock.move(3)
        read(plane, task, cpu=6.0, gib=1.0)
        return app, live

    @pytest.fixture
    def rpcs(self, plane):
        return CostRpcs(costs=plane.costs, environments=plane.environments)

    def stamp(self, plane, **back):
        stamp = Timestamp()
        stamp.FromDatetime(plane.clock.now().replace(minute=0, second=0, microsecond=0) + timedelta(**back))
        return stamp

    @pytest.mark.parametrize(("by", "name"), [("app", "shop"), ("function", "shop.f"), ("day", "2026-01-02")])
    async def test_sums_have_names_and_prices(self, plane, used, by, name):
        answer = await plane.costs.table({"by": by, "since": "7d"})

        [row] = answer["rows"]
        assert (row["name"], row["cpu_core_seconds"], row["memory_gib_seconds"]) == (name, 6.0, 3.0)
        assert Decimal(row["cost"]) == Decimal(answer["total"]["cost"]) == Decimal("3.75")

    async def test_one_function_or_container_can_be_asked_for(self, plane, used):
        app, live = used
        [task] = plane.tasks_of(live)

        rows = [(await plane.costs.show({"subject": subject}))["rows"][0] for subject in (app.id, live.id, task.id)]

        assert [Decimal(row["cost"]) for row in rows] == [Decimal("3.75")] * 3
        with pytest.raises(InvalidRequest, match="'shop' is no id"):
            await plane.costs.show({"subject": "shop"})

    async def test_other_sums_are_refused(self, plane):
        with pytest.raises(InvalidRequest, match="not by 'moon'"):
            await plane.costs.table({"by": "moon"})

    async def test_a_change_of_the_prices_counts_at_once_and_for_all(self, plane, used):
        (plane.settings.root / "prices.toml").write_text("[per_second]\ncpu_core = 1.0\n")

        assert Decimal((await plane.costs.table({}))["total"]["cost"]) == 6

    async def test_prices_that_cannot_be_understood_are_told_with_their_line(self, plane, used):
        (plane.settings.root / "prices.toml").write_text("\ncurency = 1\n")

        with pytest.raises(InvalidRequest, match=r"prices\.toml:2: 'curency' is not known"):
            await plane.costs.table({})

    async def test_the_file_is_made_where_there_is_none_and_never_touched_again(self, plane):
        plane.prices.open()
        file = plane.settings.root / "prices.toml"
        assert "All prices are 0 until you set them" in file.read_text()
        file.write_text(PRICES)
        plane.prices.open()

        assert file.read_text() == PRICES

    async def test_where_it_cannot_be_written_prices_are_nothing_and_the_engine_starts(self, plane, tmp_path):
        nowhere = PriceFile(tmp_path / "not" / "there")
        nowhere.open()

        assert await nowhere.prices() == Prices()

    @pytest.mark.parametrize(("resolution", "costs"), [("h", ["1", "2.75"]), ("d", ["3.75"])])
    async def test_the_clients_report_is_by_hours_or_days(self, plane, rpcs, used, resolution, costs):
        request = api_pb2.WorkspaceBillingReportRequest(
            start_timestamp=self.stamp(plane, hours=-5), end_timestamp=self.stamp(plane, days=1), resolution=resolution
        )

        items = [item async for item in rpcs.WorkspaceBillingReport(request, None)]

        assert [item.cost for item in items] == costs
        assert {(item.object_id, item.description, item.environment_name) for item in items} == {(used[0].id, "shop", "main")}

    async def test_intervals_that_are_not_over_are_left_out(self, plane, rpcs, used):
        request = api_pb2.WorkspaceBillingReportRequest(
            start_timestamp=self.stamp(plane, days=-2), end_timestamp=self.stamp(plane), resolution="d"
        )

        assert [item async for item in rpcs.WorkspaceBillingReport(request, None)] == []

    async def test_the_summary_of_a_month_is_by_resource(self, plane, rpcs, used):
        month = Timestamp()
        month.FromDatetime(plane.clock.now().replace(day=1, hour=0, minute=0, second=0))

        summary = await rpcs.WorkspaceBillingSummary(api_pb2.WorkspaceBillingSummaryRequest(start_timestamp=month), None)

        assert (summary.metered_cost, summary.billed_cost) == ("3.75", "3.75")
        assert dict(summary.metered_cost_breakdown) == {"CPU": "3", "Memory": "0.75"}
        assert summary.end_timestamp.ToDatetime().isoformat() == "2026-02-01T00:00:00"

    async def test_an_environment_has_a_summary_of_its_own(self, plane, rpcs, used):
        month = Timestamp()
        month.FromDatetime(plane.clock.now().replace(day=1, hour=0, minute=0, second=0))
        found = {}
        for name in ("main", "other"):
            environment = await plane.environments.get_or_create(name, Creation.IF_MISSING)
            request = api_pb2.EnvironmentBillingSummaryRequest(start_timestamp=month, environment_id=environment.id)
            found[environment.name] = (await rpcs.EnvironmentBillingSummary(request, None)).metered_cost

        assert found == {"main": "3.75", "other": "0"}

    async def test_rates_are_those_of_the_file(self, plane, rpcs, used):
        rates = await rpcs.WorkspaceBillingRates(api_pb2.WorkspaceBillingRatesRequest(), None)

        assert dict(rates.rates) == {"cpu_core_second": "0.5", "memory_gib_second": "0.25"}
        assert "0.5 USD" in rates.formatted
