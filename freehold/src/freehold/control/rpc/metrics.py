"""Figures as series over time, and the last requests of servers, as `modal function metrics`, `modal server metrics` and `… requests` ask for them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc import mapping
from freehold.control.services.counters import ServedRequest
from freehold.control.services.metrics import Metrics
from freehold.control.services.statistics import Statistics
from freehold.domain.clock import Clock
from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import FunctionId
from freehold.domain.metric_groups import OF_FUNCTIONS, OF_SERVERS, Metric, chosen
from freehold.domain.rollups import floor

_LISTED = 10  # requests of a list that asks for no number
_MINUTE, _HOUR = 60, 3600
_WIDTHS = (
    *(minutes * _MINUTE for minutes in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 4, 8, 12, 24)),
)
_WANTED_POINTS, _MOST_POINTS = 100, 500
_SERVER = api_pb2.MetricsGetInfoRequest.METRICS_TARGET_TYPE_SERVER

_MetricsRequest = api_pb2.FunctionGetMetricsRequest | api_pb2.ServerGetMetricsRequest | api_pb2.MetricsGetInfoRequest


class MetricRpcs:
    def __init__(self, *, statistics: Statistics, metrics: Metrics, clock: Clock) -> None:
        self._statistics = statistics
        self._metrics = metrics
        self._clock = clock

    # As series.

    async def MetricsGetInfo(self, request: api_pb2.MetricsGetInfoRequest, _caller: Caller) -> api_pb2.MetricsGetInfoResponse:
        since, until, width = self._points(request)
        metrics = chosen(OF_SERVERS if request.target_type == _SERVER else OF_FUNCTIONS, request.groups)
        return api_pb2.MetricsGetInfoResponse(
            groups=map(_definition, metrics), bucket_secs=width, bucket_count=int((until - since).total_seconds()) // width
        )

    async def FunctionGetMetrics(self, request: api_pb2.FunctionGetMetricsRequest, _caller: Caller) -> api_pb2.FunctionGetMetricsResponse:
        since, until, width = self._points(request)
        ids = await self._statistics.ids_of(FunctionId(request.function_id), all_variants=request.rollup)
        series = await self._series(ids, chosen(OF_FUNCTIONS, request.groups), since, until, width)
        return api_pb2.FunctionGetMetricsResponse(since=mapping.stamp(since), until=mapping.stamp(until), bucket_secs=width, series=series)

    async def ServerGetMetrics(self, request: api_pb2.ServerGetMetricsRequest, _caller: Caller) -> api_pb2.ServerGetMetricsResponse:
        since, until, width = self._points(request)
        ids = await self._statistics.ids_of(FunctionId(request.function_id), all_variants=False)
        series = await self._series(ids, chosen(OF_SERVERS, request.groups), since, until, width)
        return api_pb2.ServerGetMetricsResponse(since=mapping.stamp(since), until=mapping.stamp(until), bucket_secs=width, series=series)

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
            api_pb2.ServerCountRequestsResponse.RequestBucket(bucket_start_at=mapping.stamp(start), count=count)
            for start, count in sorted(counts.items())
        ]
        return api_pb2.ServerCountRequestsResponse(buckets=buckets)

    # The steps.

    def _points(self, request: _MetricsRequest) -> tuple[datetime, datetime, int]:
        """From the first to after the last bucket, and how wide they are; the last is over."""
        until = mapping.moment(request.until) if request.HasField("until") else self._clock.now()
        since = mapping.moment(request.since) if request.HasField("since") else until - timedelta(hours=1)
        least = (until - since).total_seconds() / (_MOST_POINTS if request.bucket_secs else _WANTED_POINTS)
        width = request.bucket_secs or next((one for one in _WIDTHS if one >= least), _WIDTHS[-1])
        if width not in _WIDTHS or width < least - 1:
            msg = f"A bucket is {', '.join(map(str, _WIDTHS))} seconds wide, and at most {_MOST_POINTS} of them are told at once."
            raise InvalidRequest(msg)
        width = max(width, self._metrics.narrowest(since))
        return floor(since, width), floor(until, width), width

    async def _series(
        self, ids: Sequence[FunctionId], metrics: Iterable[Metric], since: datetime, until: datetime, width: int
    ) -> Sequence[api_pb2.FunctionMetricSeries]:
        points = (await self._metrics.series(ids, since=since, until=until, width=width)).points
        kept_since = self._clock.now() - self._metrics.kept
        series = []
        for metric in metrics:
            for name, definition in _series_of(metric):
                one = api_pb2.FunctionMetricSeries(name=definition.name, unit=definition.unit, description=definition.description)
                for point in points:
                    told = one.points.add(timestamp=mapping.stamp(point.start))
                    value = metric.values[name](point.figures) if point.start >= kept_since else None
                    if value is not None:
                        told.value = value
                series.append(one)
        return series


def _between(served: Sequence[ServedRequest], since: Timestamp, until: Timestamp) -> list[ServedRequest]:
    first, end = mapping.moment(since), mapping.moment(until)
    return [one for one in served if first <= one.at < end]


def _request(served: ServedRequest) -> api_pb2.ServerRequestInfo:
    return api_pb2.ServerRequestInfo(
        route=served.path,
        timestamp=mapping.stamp(served.at),
        container_id=served.task_id,
        duration_seconds=served.seconds,
        status=served.status,
    )


def _definition(metric: Metric) -> api_pb2.MetricGroupDefinition:
    words = list(metric.values)
    display = f"{metric.name}_{words[0]}" if len(words) == 1 else f"{metric.name}_{{{','.join(words)}}}"
    return api_pb2.MetricGroupDefinition(
        name=metric.group, description=metric.told, display_name=display, metrics=[definition for _, definition in _series_of(metric)]
    )


def _series_of(metric: Metric) -> Iterator[tuple[str, api_pb2.MetricDefinition]]:
    for word in metric.values:
        yield word, api_pb2.MetricDefinition(name=f"{metric.name}_{word}", unit=metric.unit, description=metric.told)
