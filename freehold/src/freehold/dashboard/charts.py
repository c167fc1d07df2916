"""Figures over time, for the curves of pages: small ones drawn here, large ones as numbers for the browser."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from freehold.control.services.metrics import Series
from freehold.dashboard.parts import Parts
from freehold.domain.ids import AppId, FunctionId, TaskId

HOUR = timedelta(hours=1)
_MINUTE = 60  # seconds
_HEIGHT = 20.0
_LIFE = 5.0  # seconds: half of what one point is about
_MOST_KEPT = 50
_WINDOWS = {"15m": timedelta(minutes=15), "1h": HOUR, "6h": timedelta(hours=6), "1d": timedelta(days=1), "7d": timedelta(days=7)}

Asked = tuple[FunctionId, timedelta]  # whose curves, and how far back


@dataclass(frozen=True, slots=True)
class Spark:
    """A curve of the last hour in a box of 60 by 20: points as SVG has them, and the sums."""

    points: str
    calls: int
    errors: int


class ChartPages:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._kept: OrderedDict[Asked, tuple[float, Mapping[str, Any]]] = OrderedDict()  # with when it was made
        self.routes = [
            Route("/functions/{function_id}/series", self._function),
            Route("/containers/{task_id}/series", self._container),
        ]

    async def _function(self, request: Request) -> Response:
        """Those who have the same page open ask for the same curves, and all of them every few seconds."""
        asked = FunctionId(request.path_params["function_id"]), _WINDOWS.get(request.query_params.get("since", ""), HOUR)
        made_at, columns = self._kept.get(asked, (0.0, {}))
        now = self._parts.clock.monotonic()
        if not columns or now - made_at > _LIFE:
            columns = await self._columns(*asked)
            self._kept[asked] = now, columns
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return JSONResponse(columns)

    async def _columns(self, function_id: FunctionId, window: timedelta) -> Mapping[str, Any]:
        function = await self._parts.listings.function(function_id)
        variants = await self._parts.functions.variants_of(function.app_id, function.id)
        return _columns(await self._parts.metrics.series(variants, since=self._parts.clock.now() - window))

    async def _container(self, request: Request) -> Response:
        points = self._parts.usage.samples(TaskId(request.path_params["task_id"]))
        mib = 1024 * 1024
        return JSONResponse(
            {
                "at": [point.at.timestamp() for point in points],
                "charts": [
                    chart("CPU, cores", [("cores", [round(point.cpu_cores, 4) for point in points])]),
                    chart("Memory, MiB", [("MiB", [round(point.memory_bytes / mib, 1) for point in points])]),
                    *([chart("GPUs held", [("GPUs", [point.gpus for point in points])])] if any(point.gpus for point in points) else []),
                ],
            }
        )


async def sparks(parts: Parts) -> Mapping[AppId, Spark]:
    """Of all apps that did something in the last hour."""
    found = await parts.metrics.of_apps(since=parts.clock.now() - HOUR, width=_MINUTE)
    return {app_id: _spark(series) for app_id, series in found.items()}


def _spark(series: Series) -> Spark:
    calls = [point.figures.calls for point in series.points]
    most, step = max([*calls, 1]), 60.0 / max(len(calls) - 1, 1)
    points = " ".join(f"{index * step:.1f},{_HEIGHT - 1 - count / most * (_HEIGHT - 2):.1f}" for index, count in enumerate(calls))
    return Spark(points, sum(calls), sum(point.figures.errors for point in series.points))


def _columns(series: Series) -> Mapping[str, Any]:
    figures = [point.figures for point in series.points]
    per_second = 1 / series.width
    latencies = [(f"p{percent}", [one.latency.percentile(percent) for one in figures]) for percent in (50, 95, 99)]
    batches: Sequence[tuple[str, Sequence[float | None]]] = [("inputs", [one.mean_batch for one in figures])]
    return {
        "at": [point.start.timestamp() for point in series.points],
        "charts": [
            chart(
                "Calls per second",
                [
                    ("calls", [round(one.calls * per_second, 4) for one in figures]),
                    ("errors", [round(one.errors * per_second, 4) for one in figures]),
                ],
            ),
            chart("Latency, seconds", latencies),
            chart("Containers", [("containers", [round(one.mean_containers, 2) for one in figures])]),
            chart(
                "Waiting and running",
                [("waiting", [round(one.mean_queued, 2) for one in figures]), ("running", [round(one.mean_running, 2) for one in figures])],
            ),
            chart("Cold starts", [("starts", [one.starts.count for one in figures])]),
            *([chart("Inputs in a batch", batches)] if any(one.batches for one in figures) else []),
        ],
    }


def chart(title: str, lines: Sequence[tuple[str, Sequence[float | None]]]) -> Mapping[str, Any]:
    """As charts.js draws it."""
    return {"title": title, "lines": [{"name": name, "values": list(values)} for name, values in lines]}
