"""What was counted, as the SDK's commands, ours and Prometheus get it. One deployment is used by all; each asks for at least what it did."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import modal
import promtool
import pytest
from prometheus_client.parser import text_string_to_metric_families

from conformance.deployment import Deployment, deployed
from conformance.engine import Engine
from conformance.waiting import eventually


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    """After three calls of which one failed, a batch, two requests to the endpoint and two to the server."""
    with deployed(engine, "metrics.py") as app:
        divide = app.function("divide")
        assert [divide.remote(6, by) for by in (1, 2)] == [6, 3]
        with pytest.raises(ZeroDivisionError):
            divide.remote(1, 0)
        assert list(app.function("squares").map([1, 2, 3, 4])) == [1, 4, 9, 16]
        page = app.function("page").get_web_url()
        site = modal.Server.from_name(app.name, "Site").get_url()
        assert page
        assert site
        assert [status(page), status(f"{page}?status=503"), status(f"{site}/there"), status(f"{site}/missing")] == [200, 503, 200, 404]
        wanted = {"divide": 3, "page": 2, "Site": 2}
        eventually(
            lambda: {name: row["calls"] for name, row in rows(app).items() if name in wanted} == wanted, within=60, what="All counted"
        )
        yield app


def status(url: str) -> int:
    """Names below localhost are resolved by browsers, not by everybody."""
    parts = urlsplit(url)
    request = Request(parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl(), headers={"Host": parts.netloc})
    try:
        with urlopen(request, timeout=120) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code


def printed(app: Deployment, *words: str) -> Any:
    return json.loads(app.engine.modal(*words, "--json").succeeded().output)


def rows(app: Deployment) -> dict[str, Any]:
    answer = json.loads(app.engine.freehold("stats", app.name, "--json").succeeded().output)
    return {row["name"].removesuffix(".*"): row for row in answer["functions"]}


class TestFreehold:
    def test_stats_tell_calls_errors_latencies_and_containers(self, app: Deployment) -> None:
        found = rows(app)

        divide, page, site = found["divide"], found["page"], found["Site"]
        assert (divide["calls"], divide["errors"]) == (3, 1)
        assert 0 < divide["latency"]["p50"] <= divide["latency"]["p95"] <= divide["latency"]["p99"] < 300
        assert divide["cold_starts"] >= 1
        assert divide["most_containers"] >= 1
        assert (page["calls"], page["errors"]) == (2, 1)
        assert (site["calls"], site["errors"]) == (2, 0)
        assert found["squares"]["mean_batch"] > 1
        assert divide["used"]["cpu_core_seconds"] >= 0
        assert float(divide["used"]["cost"]) >= 0

    def test_stats_are_printed_as_a_table(self, app: Deployment) -> None:
        output = app.engine.freehold("stats", app.name, "--since", "2h").succeeded().output
        assert "metrics (deployed)" in output
        assert "33.3 %" in output
        assert "memory, GiB-s" in output
        one = app.engine.freehold("stats", f"{app.name}.divide").succeeded().output
        assert "divide" in one
        assert "page" not in one

    def test_top_shows_what_is_there_now(self, app: Deployment) -> None:
        app.function("divide").remote(4, 2)
        output = app.engine.freehold("top", "--once").succeeded().output
        assert "divide" in output
        assert "loop lag" in output


class TestSdk:
    def test_app_stats(self, app: Deployment) -> None:
        found = printed(app, "app", "stats", app.name)
        functions, servers = found["functions"]["by_name"], found["servers"]["by_name"]

        assert functions["divide"]["counts"]["calls"]["failed"] == 1
        assert functions["divide"]["counts"]["containers"]["total"] >= 1
        assert found["functions"]["total"]["calls"]["total"] >= 3 + 4 + 2
        (site,) = servers.values()
        assert site["counts"]["requests"] == {"total": 2, "ok": 1, "failed": 1}
        assert found["deployment_count"] >= 1
        assert "divide" in app.engine.modal("app", "stats", app.name).succeeded().output

    def test_function_stats(self, app: Deployment) -> None:
        found = printed(app, "function", "stats", f"{app.name}/divide")

        assert (found["input_failure_count"], found["input_timeout_count"]) == (1, 0)
        assert found["input_success_count"] >= 2
        assert set(found["input_percentile_stats"]) == {"Execution time (s)", "End-to-end latency (s)"}
        assert found["container_started_count"] >= 1
        assert found["container_percentile_stats"]["Startup time (s)"]["percentiles"]["p99"] > 0
        assert "End-to-end latency" in app.engine.modal("function", "stats", f"{app.name}/divide").succeeded().output

    def test_function_calls_and_info(self, app: Deployment) -> None:
        calls = printed(app, "function", "calls", f"{app.name}/divide")
        assert {call["status"] for call in calls} == {"success", "failure"}
        assert printed(app, "function", "info", f"{app.name}/divide")["name"] == "divide"

    def test_function_metrics(self, app: Deployment) -> None:
        schema = app.function("divide").metrics.schema()
        assert set(schema) == {"calls", "containers", "cpu", "memory", "gpu"}
        assert "successful_calls_count" in app.engine.modal("function", "metrics", f"{app.name}/divide").succeeded().output

        soon = datetime.now(UTC) + timedelta(minutes=2)  # a minute that is not over is told only if it is asked for
        metrics = app.function("divide").metrics.export(until=soon, bucket_size=timedelta(minutes=1), groups=["calls"])
        assert sum(point.value or 0 for point in metrics["failed_calls_count"].points) == 1
        assert max(point.value or 0 for point in metrics["end_to_end_latency_p50"].points) > 0

    @pytest.mark.parametrize("name", ["divide", "page", "Site"])
    def test_cpu_and_memory_of_containers_whatever_they_serve(self, app: Deployment, name: str) -> None:
        """Read every few seconds, and once more when a container ends."""
        subject = modal.Server.from_name(app.name, name) if name == "Site" else app.function(name)

        def are_known() -> bool:
            soon = datetime.now(UTC) + timedelta(minutes=2)
            metrics = subject.metrics.export(until=soon, bucket_size=timedelta(minutes=1), groups=["cpu", "memory"])
            return all(max(point.value or 0 for point in metrics[one].points) > 0 for one in ("cpu_usage_mean", "memory_usage_max"))

        eventually(are_known, within=60, what="Some seconds of its containers")

    def test_server_stats(self, app: Deployment) -> None:
        found = printed(app, "server", "stats", f"{app.name}/Site")

        assert found["request_count"] == 2
        assert found["request_count_by_status_code"] == {"2xx": 1, "4xx": 1}
        assert found["container_started_count"] >= 1
        assert "2 total" in app.engine.modal("server", "stats", f"{app.name}/Site").succeeded().output

    def test_server_requests_newest_first_and_those_of_a_time_oldest_first(self, app: Deployment) -> None:
        latest = printed(app, "server", "requests", f"{app.name}/Site")
        assert [(request["route"], request["status"]) for request in latest] == [("/missing", 404), ("/there", 200)]
        assert latest[0]["container_id"].startswith("ta-")
        ranged = printed(app, "server", "requests", f"{app.name}/Site", "--since", "1h")
        assert [request["route"] for request in ranged] == ["/there", "/missing"]

    def test_server_info_and_metrics(self, app: Deployment) -> None:
        assert printed(app, "server", "info", f"{app.name}/Site")["name"]
        assert "requests_4xx_count" in app.engine.modal("server", "metrics", f"{app.name}/Site").succeeded().output
        exported = printed(app, "server", "metrics", f"{app.name}/Site", "--group", "requests")
        assert "requests_count" in {series["name"] for series in exported["series"]}

    def test_a_group_that_there_is_not_is_named(self, app: Deployment) -> None:
        with pytest.raises(modal.exception.InvalidError, match=r"no group of metrics 'gpus' here. There are: calls, containers"):
            app.function("divide").metrics.schema(groups=["gpus"])


def exposition(app: Deployment) -> str:
    with urlopen(f"{app.engine.gateway_url}/metrics", timeout=30) as response:
        return str(response.read().decode())


@promtool.needed
def test_promtool_finds_nothing_to_mend(app: Deployment) -> None:
    assert promtool.complaints(exposition(app)) == ""


def test_prometheus_reads_functions_and_engine(app: Deployment) -> None:
    families = {family.name: family for family in text_string_to_metric_families(exposition(app))}

    calls = {sample.labels["function"]: sample.value for sample in families["freehold_calls"].samples if sample.labels["app"] == app.name}
    assert calls["divide"] >= 3
    assert calls["page"] == 2
    assert families["freehold_call_duration_seconds"].type == "histogram"
    assert families["process_resident_memory_bytes"].samples[0].value > 0


def test_history_outlives_the_engine(app: Deployment) -> None:
    before = rows(app)["divide"]
    app.engine.stop().succeeded()
    app.engine.start()

    after = rows(app)["divide"]
    assert (after["calls"], after["errors"]) == (before["calls"], before["errors"])
