"""Figures over a window of time, as `modal app stats`, `modal function stats` and `modal server stats` ask for them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc import mapping
from freehold.control.services.activity import Activity, Now
from freehold.control.services.apps import Apps
from freehold.control.services.metrics import Metrics
from freehold.control.services.statistics import FunctionFigures, Statistics
from freehold.domain.clock import Clock
from freehold.domain.errors import InvalidRequest, NotSupported
from freehold.domain.figures import Figures, Histogram, together
from freehold.domain.ids import AppId, FunctionId
from freehold.domain.metric_groups import PERCENTILES
from freehold.domain.tasks import TaskState

_BASIS_POINTS = 100
_OK = 4  # classes of status below this one are no errors

_StatsRequest = api_pb2.AppGetTimeRangeStatsRequest | api_pb2.FunctionGetTimeRangeStatsRequest | api_pb2.ServerGetTimeRangeStatsRequest


class StatisticRpcs:
    def __init__(self, *, statistics: Statistics, metrics: Metrics, activity: Activity, apps: Apps, clock: Clock) -> None:
        self._statistics = statistics
        self._metrics = metrics
        self._activity = activity
        self._apps = apps
        self._clock = clock

    async def AppGetTimeRangeStats(
        self, request: api_pb2.AppGetTimeRangeStatsRequest, _caller: Caller
    ) -> api_pb2.AppGetTimeRangeStatsResponse:
        since, until = self._window(request)
        app_id = AppId(request.app_id)
        found = await self._statistics.of_app(app_id, since, until)
        history = await self._apps.history(app_id)
        response = api_pb2.AppGetTimeRangeStatsResponse(
            since=mapping.stamp(found.since),
            until=mapping.stamp(found.until),
            functions=_functions([row for row in found.functions if not row.is_server]),
            servers=_servers([row for row in found.functions if row.is_server]),
            sandboxes=api_pb2.AppSandboxCounts(),
            lifecycle=mapping.lifecycle(found.app, await self._apps.live_deployment(app_id)),
        )
        response.deployment_count = sum(since <= deployment.deployed_at < until for deployment in history)
        return response

    async def FunctionGetTimeRangeStats(
        self, request: api_pb2.FunctionGetTimeRangeStatsRequest, _caller: Caller
    ) -> api_pb2.FunctionGetTimeRangeStatsResponse:
        since, until = self._window(request)
        family = await self._statistics.ids_of(FunctionId(request.function_id), all_variants=True)
        ids = family if request.rollup else [FunctionId(request.function_id)]
        found, now = await self._metrics.summary(ids, since=since, until=until), self._now(ids, until)
        figures = found.figures
        return api_pb2.FunctionGetTimeRangeStatsResponse(
            since=mapping.stamp(found.since),
            until=mapping.stamp(found.until),
            input_success_count=figures.succeeded,
            input_failure_count=figures.failed,
            input_timeout_count=figures.timed_out,
            input_running_at_end_count=now.running,
            input_percentile_stats=_distributions({"Execution time (s)": figures.execution, "End-to-end latency (s)": figures.latency}),
            container_started_count=figures.starts.count,
            container_error_count=figures.broken,
            container_total_count=figures.all_containers,
            container_creating_at_end_count=_starting(now),
            container_percentile_stats=_distributions({"Startup time (s)": figures.starts}),
            variant_count=len(family) - 1,
        )

    async def ServerGetTimeRangeStats(
        self, request: api_pb2.ServerGetTimeRangeStatsRequest, _caller: Caller
    ) -> api_pb2.ServerGetTimeRangeStatsResponse:
        since, until = self._window(request)
        ids = await self._statistics.ids_of(FunctionId(request.function_id), all_variants=False)
        found, now = await self._metrics.summary(ids, since=since, until=until), self._now(ids, until)
        figures = found.figures
        return api_pb2.ServerGetTimeRangeStatsResponse(
            since=mapping.stamp(found.since),
            until=mapping.stamp(found.until),
            request_count=figures.requests,
            request_count_by_status_code=[
                api_pb2.ServerGetTimeRangeStatsResponse.ServerStatusCodeCount(status_code=100 * kind, count=count)
                for kind, count in enumerate(figures.statuses)
                if count
            ],
            request_rate_per_second=figures.requests / (found.until - found.since).total_seconds(),
            request_percentile_stats=_distributions({"Request duration (s)": figures.latency}),
            container_percentile_stats=_distributions({"Startup time (s)": figures.starts}),
            container_started_count=figures.starts.count,
            container_error_count=figures.broken,
            container_total_count=figures.all_containers,
            container_creating_at_end_count=_starting(now),
        )

    # The steps.

    def _window(self, request: _StatsRequest) -> tuple[datetime, datetime]:
        """An hour, if nothing else is asked for."""
        if not isinstance(request, api_pb2.AppGetTimeRangeStatsRequest) and request.container_id:
            msg = "Figures of single containers are not kept. Ask without --container; `modal container list` shows what runs."
            raise NotSupported(msg)
        until = mapping.moment(request.until) if request.HasField("until") else self._clock.now()
        since = mapping.moment(request.since) if request.HasField("since") else until - timedelta(hours=1)
        if since >= until:
            msg = "The window ends before it begins."
            raise InvalidRequest(msg)
        now = self._clock.now()
        return since, until if until < now - timedelta(seconds=1) else now  # what has just happened belongs to a window up to now

    def _now(self, ids: Sequence[FunctionId], until: datetime) -> Now:
        return self._activity.together(ids) if until >= self._clock.now() - timedelta(seconds=1) else Now()


def _functions(rows: Sequence[FunctionFigures]) -> api_pb2.AppFunctionStatsGroup:
    return api_pb2.AppFunctionStatsGroup(
        total=_function_counts(together(row.figures for row in rows)),
        by_name={row.name: api_pb2.AppFunctionStats(object_id=row.function.id, counts=_function_counts(row.figures)) for row in rows},
    )


def _function_counts(figures: Figures) -> api_pb2.AppFunctionCounts:
    """What was cancelled neither succeeded nor failed."""
    calls = api_pb2.AppCallCounts(total=figures.succeeded + figures.errors, succeeded=figures.succeeded, failed=figures.errors)
    return api_pb2.AppFunctionCounts(calls=calls, containers=_containers(figures))


def _servers(rows: Sequence[FunctionFigures]) -> api_pb2.AppServerStatsGroup:
    return api_pb2.AppServerStatsGroup(
        total=_server_counts(together(row.figures for row in rows)),
        by_name={row.name: api_pb2.AppServerStats(object_id=row.function.id, counts=_server_counts(row.figures)) for row in rows},
    )


def _server_counts(figures: Figures) -> api_pb2.AppServerCounts:
    ok = sum(figures.statuses[1:_OK])
    requests = api_pb2.AppRequestCounts(total=figures.requests, ok=ok, failed=figures.requests - ok)
    return api_pb2.AppServerCounts(requests=requests, containers=_containers(figures))


def _containers(figures: Figures) -> api_pb2.AppContainerCounts:
    return api_pb2.AppContainerCounts(container_errors=figures.broken, container_active_count=figures.all_containers)


def _starting(now: Now) -> int:
    return now.containers.get(TaskState.PENDING, 0) + now.containers.get(TaskState.STARTING, 0)


def _distributions(durations: dict[str, Histogram]) -> dict[str, api_pb2.StatsPercentileDistribution]:
    """Those of which something was measured."""
    return {name: _distribution(one) for name, one in durations.items() if one.count}


def _distribution(durations: Histogram) -> api_pb2.StatsPercentileDistribution:
    percentiles = [
        api_pb2.StatsPercentile(percentile_basis_points=percent * _BASIS_POINTS, value=durations.percentile(percent) or 0.0)
        for percent in PERCENTILES
    ]
    return api_pb2.StatsPercentileDistribution(unit="s", percentiles=percentiles)
