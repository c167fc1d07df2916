"""What pages say where costs cannot be told: what to do, and nothing that looks like free."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from fakes.clock import FakeClock
from starlette.applications import Starlette
from starlette.testclient import TestClient

from freehold.control.services.cost import Costs
from freehold.control.services.recent_costs import RecentCosts
from freehold.control.services.usage import UsageBook
from freehold.dashboard.costs import CostPages, costs_of_apps, pricing_of
from freehold.domain.cost import DEFAULT
from freehold.domain.usage import FunctionUsage, Usage
from freehold.store.memory.store import MemoryStore
from freehold.store.prices import PriceFile

APP, FUNCTION = "ap-" + "a" * 22, "fu-" + "f" * 22
SET = 'currency = "EUR"\n[per_second]\ncpu_core = 0.25\n'


@pytest.fixture
async def parts(tmp_path):
    store, clock = MemoryStore(), FakeClock()
    usage = UsageBook(store=store, tasks=None, clock=clock, gpus=())
    costs = Costs(usage=usage, prices=PriceFile(tmp_path), store=store, clock=clock)
    row = FunctionUsage(begins_at=clock.now(), app_id=APP, function_id=FUNCTION, usage=Usage(cpu_core_seconds=8.0))
    async with store.transaction() as tx:
        await tx.usages.add([row], {}, clock.now())
    recent = RecentCosts(usage=usage, costs=costs, clock=clock)
    return SimpleNamespace(settings=SimpleNamespace(root=tmp_path), usage=usage, costs=costs, recent_costs=recent)


def series(parts):
    return TestClient(Starlette(routes=CostPages(parts).routes)).get(f"/costs/{APP}/series").json()


async def test_with_prices_there_is_a_cost_for_each_app_and_day(parts, tmp_path):
    (tmp_path / "prices.toml").write_text(SET)
    pricing = await pricing_of(parts)
    costs = await costs_of_apps(parts, pricing)
    chart = series(parts)

    assert (pricing.notice, pricing.rates[0][1]) == ("", pricing.prices.cpu_core)
    assert costs.today == costs.month == {APP: 2}
    assert costs.all_today == 2
    assert chart["charts"][0]["title"] == "Cost by day, EUR"
    assert chart["charts"][0]["lines"][0]["values"][-2:] == [0.0, 2.0]
    assert datetime.fromtimestamp(chart["at"][-1], UTC).hour == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Nothing has a price yet, so no cost is shown. Set prices in"),
        (DEFAULT, "Nothing has a price yet"),
        ("[per_second]\ncpus = 1\n", "prices.toml:2: 'cpus' is not known here"),
    ],
)
async def test_without_prices_it_is_said_what_to_do_and_no_cost_is_shown(parts, tmp_path, text, said):
    (tmp_path / "prices.toml").write_text(text)
    pricing = await pricing_of(parts)

    assert said in pricing.notice
    assert str(tmp_path / "prices.toml") in pricing.notice
    assert await costs_of_apps(parts, pricing) is None
    assert series(parts)["charts"][0] == {
        "title": "CPU by day, core-seconds",
        "lines": [{"name": "core-seconds", "values": [0.0] * 30 + [8.0]}],
    }
