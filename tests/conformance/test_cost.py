"""What was used, and what it cost: `freehold cost`, and the client's billing commands."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.waiting import eventually

WITHIN = 60
PRICES = 'currency = "EUR"\n[per_second]\ncpu_core = 2.0\n'


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    file = engine.home / "prices.toml"
    kept = file.read_text()
    file.write_text(PRICES)
    with deployed(engine, "cost.py") as app:
        app.function("burn").remote(0.5)
        yield app
    file.write_text(kept)


def cost(engine: Engine, app: Deployment, function: str) -> dict[str, Any]:
    """Its row; empty while there is none."""
    answer = json.loads(engine.freehold("cost", "--by", "function", "--since", "today", "--json").succeeded().output)
    function_id = app.function(function).hydrate().object_id
    return next((row for row in answer["rows"] if row["id"] == function_id), {})


def billed(engine: Engine, app: Deployment, *options: str) -> dict[str, Any]:
    """The line of the app in today's report."""
    items = json.loads(engine.modal("billing", "report", "--for", "today", "--json", *options).succeeded().output)
    return next((item for item in items if item["object_id"] == app.app_id), {})


def test_a_function_is_charged_for_what_it_burned(engine: Engine, app: Deployment) -> None:
    def row() -> dict[str, Any]:
        found = cost(engine, app, "burn")
        return found if found.get("inputs") and found["cpu_core_seconds"] >= 0.5 else {}

    found = eventually(row, within=WITHIN, what="A container that was read")

    assert found["name"] == "cost.burn"
    assert found["memory_gib_seconds"] > 0
    assert float(found["cost"]) >= 1.0
    assert "cost.burn" in engine.freehold("cost", "--by", "function").succeeded().output


def test_the_report_names_the_app_and_what_it_used(engine: Engine, app: Deployment) -> None:
    found = eventually(lambda: billed(engine, app, "--tag-names", "team"), within=WITHIN, what="The app on the bill")

    assert (found["description"], found["environment"], found["tags"]) == ("cost", "main", '{"team": "shop"}')
    assert {item["resource"] for item in [billed(engine, app, "--show-resources")]} <= {"CPU", "Memory"}


def test_the_summary_of_the_month_has_all_of_it(engine: Engine, app: Deployment) -> None:
    eventually(lambda: billed(engine, app), within=WITHIN, what="The app on the bill")
    of_main = json.loads(engine.modal("environment", "billing", "summary", "main", "--json").succeeded().output)
    of_all = json.loads(engine.modal("billing", "summary", "--json").succeeded().output)  # asked later, so it may have more

    assert float(of_all["metered_cost_breakdown"]["cpu"]) >= 1.0
    assert 1.0 <= float(of_main["metered_cost"]) <= float(of_all["metered_cost"])
    assert of_all["metered_cost"] == of_all["billed_cost"]


def test_rates_are_those_that_the_owner_has_set(engine: Engine, app: Deployment) -> None:
    assert json.loads(engine.modal("billing", "rates", "--json").succeeded().output) == {"cpu_core_second": "2", "memory_gib_second": "0"}


def test_nothing_is_lost_with_an_engine_that_is_killed(engine: Engine, app: Deployment) -> None:
    def memory() -> float:
        return float(cost(engine, app, "stay").get("memory_gib_seconds", 0.0))

    before = eventually(memory, within=WITHIN, what="A container that was read")
    engine.kill_engine()
    engine.await_answer()

    assert memory() >= before
    eventually(lambda: memory() > before, within=WITHIN, what="The same container, charged on")
