"""`/metrics` as Prometheus reads it."""

import promtool
import pytest
from fakes.gateway import a_gateway
from prometheus_client.parser import text_string_to_metric_families

from freehold.control.services.activity import Now
from freehold.domain.figures import Figures, Histogram
from freehold.domain.tasks import TaskState
from freehold.gateway.exposition import EngineFigures, of_engine, of_functions, text

ODD = 'say "hi"\\\n'
FIGURES = Figures(
    succeeded=3, failed=1, timed_out=1, cancelled=1, latency=Histogram.of([0.004, 0.3]), starts=Histogram.of([0.5]), batches=2, batched=6
)
ENGINE = EngineFigures(
    version="0.1.0",
    modal="1.6.4",
    started_at=1_700_000_000.5,
    cpu_seconds=1.5,
    resident_bytes=1024,
    containers={"ready": 2},
    loop_lag=0.01,
    commits=Histogram.of([0.002]),
)
NOW = Now(queued=4, running=2, containers={TaskState.READY: 1, TaskState.STARTING: 1})


def told(functions=None):
    rows = functions if functions is not None else {("shop", "f"): (FIGURES, NOW), (ODD, "g"): (Figures(), Now())}
    return text([*of_functions(rows), *of_engine(ENGINE)])


def samples(exposition):
    families = text_string_to_metric_families(exposition)
    return {(sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples}


def test_its_text_is_read_back_as_it_was_meant():
    found = samples(told())
    shop = [("app", "shop"), ("function", "f")]
    expected = {
        "freehold_calls_total": 6,
        "freehold_call_errors_total": 2,
        "freehold_call_timeouts_total": 1,
        "freehold_calls_cancelled_total": 1,
        "freehold_queued_calls": 4,
        "freehold_running_calls": 2,
        "freehold_containers": 2,
        "freehold_call_duration_seconds_count": 2,
        "freehold_call_duration_seconds_sum": 0.304,
        "freehold_container_start_seconds_count": 1,
        "freehold_batch_size_sum": 6,
    }
    assert {name: found[name, *shop] for name in expected} == pytest.approx(expected)


def test_a_histogram_has_growing_buckets_up_to_all():
    rows = [
        (float(key[-1][1]), value)
        for key, value in samples(told()).items()
        if key[0].endswith("duration_seconds_bucket") and ("app", "shop") in key
    ]
    buckets = [value for _, value in sorted(rows)]
    assert buckets == sorted(buckets)
    assert (buckets[-1], len(buckets)) == (2, 20)


def test_names_of_apps_are_escaped():
    assert samples(told())["freehold_calls_total", ("app", ODD), ("function", "g")] == 0


def test_the_engine_tells_of_itself():
    found = samples(told({}))
    assert found["freehold_engine_containers", ("state", "ready")] == 2
    assert found["freehold_event_loop_lag_seconds",] == 0.01
    assert found["freehold_store_commit_duration_seconds_count",] == 1
    assert found["process_start_time_seconds",] == 1_700_000_000.5


async def served():
    """The whole of it, from a gateway, and its type."""

    async def measurements():
        return {("shop", "f"): (FIGURES, NOW), (ODD, "g"): (Figures(), Now())}, ENGINE

    async with a_gateway(measurements=measurements) as gateway, gateway.http.get(f"{gateway.url}/metrics") as response:
        return await response.text(), response.headers["Content-Type"]


async def test_the_gateway_serves_it_with_its_own():
    exposition, kind = await served()
    found = samples(exposition)

    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    assert found["freehold_calls_total", ("app", "shop"), ("function", "f")] == 6
    assert found["freehold_http_connections",] == 1


@promtool.needed
async def test_promtool_finds_nothing_to_mend():
    exposition, _ = await served()
    assert promtool.complaints(exposition) == ""


@promtool.needed
def test_promtool_would_say_so():
    assert "no help text" in promtool.complaints("spoons 1\n")
