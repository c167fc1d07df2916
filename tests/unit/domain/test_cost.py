"""Prices as their owner writes them, and what usage costs by them."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from freehold.domain.cost import DEFAULT, Prices, cost_of, parse, total_of, written
from freehold.domain.errors import InvalidRequest
from freehold.domain.since import since
from freehold.domain.usage import Usage

FILE = """\
currency = "EUR"

[per_second]
cpu_core = 0.00002
memory_gib = 0.000003   # a comment

[per_second.gpu]
any = 0.0001
T4 = 0.0002
"A100-80GB" = 0.001
A100 = 0.0005
RTX-4090 = 0.0003
"""


def test_the_file_that_an_engine_begins_with_prices_all_at_nothing():
    prices = parse(DEFAULT, "prices.toml")

    assert prices == Prices(gpus={"any": Decimal("0.0")})
    assert total_of(Usage(cpu_core_seconds=1e9, memory_gib_seconds=1e9, gpu_seconds={"T4": 1e9}), prices) == 0


def test_usage_costs_what_the_file_says_to_the_last_digit():
    usage = Usage(cpu_core_seconds=100.5, memory_gib_seconds=1000, gpu_seconds={"Tesla T4": 10.0})

    costs = cost_of(usage, parse(FILE, "prices.toml"))

    assert costs == {"CPU": Decimal("0.00201"), "Memory": Decimal("0.003"), "Tesla T4": Decimal("0.002")}


@pytest.mark.parametrize(
    ("device", "price"),
    [
        ("Tesla T4", "0.0002"),
        ("NVIDIA A100-SXM4-80GB", "0.001"),
        ("NVIDIA A100-SXM4-40GB", "0.0005"),
        ("NVIDIA GeForce RTX 4090", "0.0003"),
        ("NVIDIA L40S", "0.0001"),
    ],
)
def test_a_device_has_the_price_that_says_most_about_it(device, price):
    assert parse(FILE, "prices.toml").gpu(device) == Decimal(price)


def test_without_any_a_device_that_is_not_named_costs_nothing():
    assert Prices(gpus={"T4": Decimal(1)}).gpu("NVIDIA L4") == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('currency = "EUR"\n[per_second]\ncpu_cores = 1\n', r"prices.toml:3: 'cpu_cores' is not known here; .* cpu_core, gpu, memory_gib"),
        ("[per_second]\ncpu_core = 1\nmemory_gib = -1\n", "prices.toml:3: 'memory_gib' is a price"),
        ('\n[per_second.gpu]\nL4 = 1\n"T4" = "cheap"\n', "prices.toml:4: 'T4' is a price"),
        ("[per_second]\ncpu_core = nan\n", "prices.toml:2: 'cpu_core' is a price"),
        ("[per_second]\ncpu_core = true\n", "prices.toml:2: 'cpu_core' is a price"),
        ("currency = 1\n", "prices.toml:1: 'currency' is a short text"),
        ("per_second = 1\n", "prices.toml:1: 'per_second' is a table"),
        ("\n\n[per_hour]\ncpu = 1\n", "prices.toml:3: 'per_hour' is not known here"),
        ("[per_second]\ncpu_core = \n", "prices.toml:2: not valid TOML"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text, told):
    with pytest.raises(InvalidRequest, match=told):
        parse(text, "prices.toml")


@pytest.mark.parametrize(
    ("cost", "shown"), [("0", "0.0000"), ("0.000000001", "<0.0001"), ("0.0001", "0.0001"), ("1234.56789", "1,234.5679")]
)
def test_a_small_cost_does_not_look_like_none(cost, shown):
    assert written(Decimal(cost)) == shown


@pytest.mark.parametrize(("text", "are_set"), [("", False), (DEFAULT, False), ("[per_second.gpu]\nT4 = 1\n", True)])
def test_prices_are_set_when_anything_has_one(text, are_set):
    assert parse(text, "prices.toml").are_set == are_set


NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90m", "2026-03-04T03:36:07+00:00"),
        ("24h", "2026-03-03T05:06:07+00:00"),
        ("7d", "2026-02-25T05:06:07+00:00"),
        ("2w", "2026-02-18T05:06:07+00:00"),
        ("today", "2026-03-04T00:00:00+00:00"),
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
        ("2026-01-31T10:00+02:00", "2026-01-31T08:00:00+00:00"),
    ],
)
def test_a_time_may_be_written_in_several_ways(text, moment):
    assert since(text, NOW) == datetime.fromisoformat(moment)


@pytest.mark.parametrize("text", ["", "soon", "7y", "999999w", "31.1.2026"])
def test_what_is_no_time_is_refused_with_examples(text):
    with pytest.raises(InvalidRequest, match="Write 90m, 24h"):
        since(text, NOW)
