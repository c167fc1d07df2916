"""Figures over time, as `modal app stats`, `modal function stats`, `modal server stats` and their `metrics` ask for them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc import mapping
from freehold.control.services.apps import Apps
from freehold.control.services.counters import ServedRequest
from freehold.control.services.metrics import Metrics, Now
from freehold.control.services.statistics import FunctionFigures, Statistics
from freehold.domain.clock import Clock
from freehold.domain.errors import InvalidRequest, NotSupported
from freehold.domain.ids import AppId, FunctionId
from freehold.domain.rollups import Figures, Histogram, floor, together
from freehold.domain.tasks import TaskState

_PERCENTILES = (50, 90, 95, 99)
_BASIS_POINTS = 100
_OK = 4  # classes of status below this one are no errors
_LISTED = 10  # requests of a list that asks for no number
_MINUTE, _HOUR = 60, 3600
_WIDTHS = (
    *(minutes * _MINUTE for minutes in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 4, 8, 12, 24)),
)
_WANTED_POINTS, _MOST_POINTS = 100, 500
_SERVER = api_pb2.MetricsGetInfoRequest.METRICS_TARGET_TYPE_SERVER

_MetricsRequest = api_pb2.FunctionGetMetricsRequest | api_pb2.ServerGetMetricsRequest | api_pb2.MetricsGetInfoRequest
_StatsRequest = api_pb2.AppGetTimeRangeStatsRequest | api_pb2.FunctionGetTimeRangeStatsRequest | api_pb2.ServerGetTimeRangeStatsRequest


@dataclass(frozen=True, slots=True)
class _Metric:
    """Series of one group that are told together, by their last word."""

    group: str
    name: str
    unit: str
    told: str
    values: "dict[str, Callable[[Figures], float | None]]"


class MetricRpcs:
    def __init__(self, *, statistics: Statistics, metrics: Metrics, apps: Apps, clock: Clock) -> None:
        self._statistics = statistics
        self._metrics = metrics
        self._apps = apps
        self._clock = clock

    # Over a window.

    async def AppGetTimeRangeStats(
        self, request: api_pb2.AppGetTimeRangeStatsRequest, _caller: Caller
    ) -> api_pb2.AppGetTimeRangeStatsResponse:
        since, until = self._window(request)
        app_id = AppId(request.app_id)
        found = await self._statistics.of_app(app_id, since, until)
        history = await self._apps.history(app_id)
        response = api_pb2.AppGetTimeRangeStatsResponse(
            since=_stamp(found.since),
            until=_stamp(found.until),
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
            since=_stamp(found.since),
            until=_stamp(found.until),
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
            since=_stamp(found.since),
            until=_stamp(found.until),
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

    # As series.

    async def MetricsGetInfo(self, request: api_pb2.MetricsGetInfoRequest, _caller: Caller) -> api_pb2.MetricsGetInfoResponse:
        since, until, width = self._points(request)
        metrics = _chosen(_SERVER_METRICS if request.target_type == _SERVER else _FUNCTION_METRICS, request.groups)
        return api_pb2.MetricsGetInfoResponse(
            groups=map(_definition, metrics), bucket_secs=width, bucket_count=int((until - since).total_seconds()) // width
        )

    async def FunctionGetMetrics(self, request: api_pb2.FunctionGetMetricsRequest, _caller: Caller) -> api_pb2.FunctionGetMetricsResponse:
        since, until, width = self._points(request)
        ids = await self._statistics.ids_of(FunctionId(request.function_id), all_variants=request.rollup)
        series = await self._series(ids, _chosen(_FUNCTION_METRICS, request.groups), since, until, width)
        return api_pb2.FunctionGetMetricsResponse(since=_stamp(since), until=_stamp(until), bucket_secs=width, series=series)

    async def ServerGetMetrics(self, request: api_pb2.ServerGetMetricsRequest, _caller: Caller) -> api_pb2.ServerGetMetricsResponse:
        since, until, width = self._points(request)
        ids = await self._statistics.ids_of(FunctionId(request.function_id), all_variants=False)
        series = await self._series(ids, _chosen(_SERVER_METRICS, request.groups), since, until, width)
        return api_pb2.ServerGetMetricsResponse(since=_stamp(since), until=_stamp(until), bucket_secs=width, series=series)

    # One by one.

    async def ServerRequestFetch(self, request: api_pb2.ServerRequestFetchRequest, _caller: Caller) -> api_pb2.ServerRequestFetchResponse:
        """The last ones newest first, those of a range oldest first."""
        served = await self._statistics.requests_of(FunctionId(request.function_id))
        if not request.HasField("range"):
            return api_pb2.ServerRequestFetchResponse(requests=map(_request, served[: -(request.tail.count or _LISTED) - 1 : -1]))
        found = _between(served, request.range.since, request.range.until)
        return api_pb2.ServerRequestFetchResponse(requests=map(_request, found[: request.range.limit or None]))

    async def ServerCountRequests(
        self, request: api_pb2.ServerCountRequestsRequest, _caller: Caller
    ) -> api_pb2.ServerCountRequestsResponse:
        served = await self._statistics.requests_of(FunctionId(request.function_id))
        width = request.bucket_secs or _MINUTE
        counts = Counter(floor(one.at, width) for one in _between(served, request.since, request.until))
        buckets = [
            api_pb2.ServerCountRequestsResponse.RequestBucket(bucket_start_at=_stamp(start), count=count)
            for start, count in sorted(counts.items())
        ]
        return api_pb2.ServerCountRequestsResponse(buckets=buckets)

    # The steps.

    def _window(self, request: _StatsRequest) -> tuple[datetime, datetime]:
        """An hour, if nothing else is asked for."""
        if not isinstance(request, api_pb2.AppGetTimeRangeStatsRequest) and request.container_id:
            msg = "Figures of single containers are not kept. Ask without --container; `modal container list` shows what runs."
            raise NotSupported(msg)
        until = _moment(request.until) if request.HasField("until") else self._clock.now()
        since = _moment(request.since) if request.HasField("since") else until - timedelta(hours=1)
        if since >= until:
            msg = "The window ends before it begins."
            raise InvalidRequest(msg)
        now = self._clock.now()
        return since, until if until < now - timedelta(seconds=1) else now  # what has just happened belongs to a window up to now

    def _now(self, ids: Sequence[FunctionId], until: datetime) -> Now:
        return self._metrics.now(ids) if until >= self._clock.now() - timedelta(seconds=1) else Now()

    def _points(self, request: _MetricsRequest) -> tuple[datetime, datetime, int]:
        """From the first to after the last bucket, and how wide they are; the last is over."""
        until = _moment(request.until) if request.HasField("until") else self._clock.now()
        since = _moment(request.since) if request.HasField("since") else until - timedelta(hours=1)
        least = (until - since).total_seconds() / (_MOST_POINTS if request.bucket_secs else _WANTED_POINTS)
        width = request.bucket_secs or next((one for one in _WIDTHS if one >= least), _WIDTHS[-1])
        if width not in _WIDTHS or width < least - 1:
            msg = f"A bucket is {', '.join(map(str, _WIDTHS))} seconds wide, and at most {_MOST_POINTS} of them are told at once."
            raise InvalidRequest(msg)
        width = max(width, self._metrics.narrowest(since))
        return floor(since, width), floor(until, width), width

    async def _series(
        self, ids: Sequence[FunctionId], metrics: Iterable[_Metric], since: datetime, until: datetime, width: int
    ) -> Sequence[api_pb2.FunctionMetricSeries]:
        points = (await self._metrics.series(ids, since=since, until=until, width=width)).points
        kept_since = self._clock.now() - self._metrics.kept
        series = []
        for metric in metrics:
            for name, definition in _series_of(metric):
                one = api_pb2.FunctionMetricSeries(name=definition.name, unit=definition.unit, description=definition.description)
                for point in points:
                    told = one.points.add(timestamp=_stamp(point.start))
                    value = metric.values[name](point.figures) if point.start >= kept_since else None
                    if value is not None:
                        told.value = value
                series.append(one)
        return series


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
        for percent in _PERCENTILES
    ]
    return api_pb2.StatsPercentileDistribution(unit="s", percentiles=percentiles)


def _between(served: Sequence[ServedRequest], since: Timestamp, until: Timestamp) -> list[ServedRequest]:
    first, end = _moment(since), _moment(until)
    return [one for one in served if first <= one.at < end]


def _request(served: ServedRequest) -> api_pb2.ServerRequestInfo:
    return api_pb2.ServerRequestInfo(
        route=served.path,
        timestamp=_stamp(served.at),
        container_id=served.task_id,
        duration_seconds=served.seconds,
        status=served.status,
    )


def _chosen(metrics: Sequence[_Metric], groups: Sequence[str]) -> Sequence[_Metric]:
    known = list(dict.fromkeys(metric.group for metric in metrics))
    if strange := [group for group in groups if group not in known]:
        msg = f"There is no group of metrics {strange[0]!r} here. There are: {', '.join(known)}."
        raise InvalidRequest(msg)
    return [metric for metric in metrics if not groups or metric.group in groups]


def _definition(metric: _Metric) -> api_pb2.MetricGroupDefinition:
    words = list(metric.values)
    display = f"{metric.name}_{words[0]}" if len(words) == 1 else f"{metric.name}_{{{','.join(words)}}}"
    return api_pb2.MetricGroupDefinition(
        name=metric.group, description=metric.told, display_name=display, metrics=[definition for _, definition in _series_of(metric)]
    )


def _series_of(metric: _Metric) -> Iterator[tuple[str, api_pb2.MetricDefinition]]:
    for word in metric.values:
        yield word, api_pb2.MetricDefinition(name=f"{metric.name}_{word}", unit=metric.unit, description=metric.told)


def _count(read: Callable[[Figures], int]) -> "dict[str, Callable[[Figures], float | None]]":
    return {"count": read}


def _percentiles(read: Callable[[Figures], Histogram]) -> "dict[str, Callable[[Figures], float | None]]":
    return {f"p{percent}": lambda figures, percent=percent: read(figures).percentile(percent) for percent in _PERCENTILES}  # type: ignore[misc]


def _stamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def _moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)


_CONTAINERS = (
    _Metric(
        "containers",
        "containers",
        "containers",
        "Containers, those that start or leave too.",
        {"mean": lambda figures: figures.mean_containers, "max": lambda figures: figures.most_containers},
    ),
    _Metric(
        "containers", "started_containers", "containers", "Containers that became ready.", _count(lambda figures: figures.starts.count)
    ),
    _Metric(
        "containers",
        "errored_containers",
        "containers",
        "Containers that crashed or were never ready.",
        _count(lambda figures: figures.broken),
    ),
    _Metric(
        "containers",
        "startup_time",
        "seconds",
        "From the wish for a container to when it was ready.",
        _percentiles(lambda figures: figures.starts),
    ),
)
_FUNCTION_METRICS = (
    _Metric("calls", "successful_calls", "calls", "Calls that succeeded.", _count(lambda figures: figures.succeeded)),
    _Metric("calls", "failed_calls", "calls", "Calls that failed.", _count(lambda figures: figures.failed)),
    _Metric("calls", "timed_out_calls", "calls", "Calls that ran into their timeout.", _count(lambda figures: figures.timed_out)),
    _Metric("calls", "cancelled_calls", "calls", "Calls that were cancelled.", _count(lambda figures: figures.cancelled)),
    _Metric(
        "calls", "end_to_end_latency", "seconds", "From when a call arrived to its end.", _percentiles(lambda figures: figures.latency)
    ),
    _Metric(
        "calls",
        "execution_time",
        "seconds",
        "From when a container took a call to its end.",
        _percentiles(lambda figures: figures.execution),
    ),
    _Metric(
        "calls",
        "queued_calls",
        "calls",
        "Calls that wait for a container.",
        {"mean": lambda figures: figures.mean_queued, "max": lambda figures: figures.most_queued},
    ),
    _Metric(
        "calls",
        "running_calls",
        "calls",
        "Calls that a container has.",
        {"mean": lambda figures: figures.mean_running, "max": lambda figures: figures.most_running},
    ),
    _Metric("calls", "batch_size", "inputs", "Inputs in a batch.", {"mean": lambda figures: figures.mean_batch}),
    *_CONTAINERS,
)
_SERVER_METRICS = (
    _Metric("requests", "requests", "requests", "Requests that ended.", _count(lambda figures: figures.requests)),
    *(
        _Metric(
            "requests",
            f"requests_{kind}xx",
            "requests",
            f"Responses with a status {kind}xx.",
            _count(lambda figures, kind=kind: figures.statuses[kind]),  # type: ignore[misc]
        )
        for kind in range(1, 6)
    ),
    _Metric(
        "requests", "request_duration", "seconds", "From when a request came to its end.", _percentiles(lambda figures: figures.latency)
    ),
    *_CONTAINERS,
)
