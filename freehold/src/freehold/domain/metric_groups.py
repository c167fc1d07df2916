"""Which series there are of a function's figures, in which groups, and how each is read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from freehold.domain.errors import InvalidRequest
from freehold.domain.figures import Figures, Histogram

PERCENTILES = (50, 90, 95, 99)

Read = Callable[[Figures], float | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """Series of one group that are told together, by their last word. None where nothing was measured."""

    group: str
    name: str
    unit: str
    told: str
    values: Mapping[str, Read]


def chosen(metrics: Sequence[Metric], groups: Sequence[str]) -> Sequence[Metric]:
    """Those of these groups; all without any. Raises InvalidRequest."""
    known = list(dict.fromkeys(metric.group for metric in metrics))
    if strange := [group for group in groups if group not in known]:
        msg = f"There is no group of metrics {strange[0]!r} here. There are: {', '.join(known)}."
        raise InvalidRequest(msg)
    return [metric for metric in metrics if not groups or metric.group in groups]


def _count(read: Callable[[Figures], int]) -> Mapping[str, Read]:
    return {"count": read}


def _percentiles(read: Callable[[Figures], Histogram]) -> Mapping[str, Read]:
    return {f"p{percent}": lambda figures, percent=percent: read(figures).percentile(percent) for percent in PERCENTILES}  # type: ignore[misc]


_CONTAINERS = (
    Metric(
        "containers",
        "containers",
        "containers",
        "Containers, those that start or leave too.",
        {"mean": lambda figures: figures.mean_containers, "max": lambda figures: figures.most_containers},
    ),
    Metric("containers", "started_containers", "containers", "Containers that became ready.", _count(lambda figures: figures.starts.count)),
    Metric(
        "containers",
        "errored_containers",
        "containers",
        "Containers that crashed or were never ready.",
        _count(lambda figures: figures.broken),
    ),
    Metric(
        "containers",
        "startup_time",
        "seconds",
        "From the wish for a container to when it was ready.",
        _percentiles(lambda figures: figures.starts),
    ),
    Metric(
        "cpu",
        "cpu_usage",
        "cores",
        "Cores that one container used, on average; and the most that one did over a few seconds.",
        {"mean": lambda figures: figures.mean_cpu, "max": lambda figures: figures.most_cpu if figures.measured else None},
    ),
    Metric(
        "memory",
        "memory_usage",
        "GiB",
        "Memory that one container used, on average; and the most that one did.",
        {"mean": lambda figures: figures.mean_memory, "max": lambda figures: figures.most_memory if figures.measured else None},
    ),
    Metric(
        "gpu",
        "gpus_held",
        "GPUs",
        "GPUs that one container held, whether it used them or not.",
        {"mean": lambda figures: figures.mean_gpus},
    ),
)
OF_FUNCTIONS = (
    Metric("calls", "successful_calls", "calls", "Calls that succeeded.", _count(lambda figures: figures.succeeded)),
    Metric("calls", "failed_calls", "calls", "Calls that failed.", _count(lambda figures: figures.failed)),
    Metric("calls", "timed_out_calls", "calls", "Calls that ran into their timeout.", _count(lambda figures: figures.timed_out)),
    Metric("calls", "cancelled_calls", "calls", "Calls that were cancelled.", _count(lambda figures: figures.cancelled)),
    Metric("calls", "end_to_end_latency", "seconds", "From when a call arrived to its end.", _percentiles(lambda figures: figures.latency)),
    Metric(
        "calls",
        "execution_time",
        "seconds",
        "From when a container took a call to its end.",
        _percentiles(lambda figures: figures.execution),
    ),
    Metric(
        "calls",
        "queued_calls",
        "calls",
        "Calls that wait for a container.",
        {"mean": lambda figures: figures.mean_queued, "max": lambda figures: figures.most_queued},
    ),
    Metric(
        "calls",
        "running_calls",
        "calls",
        "Calls that a container has.",
        {"mean": lambda figures: figures.mean_running, "max": lambda figures: figures.most_running},
    ),
    Metric("calls", "batch_size", "inputs", "Inputs in a batch.", {"mean": lambda figures: figures.mean_batch}),
    *_CONTAINERS,
)
OF_SERVERS = (
    Metric("requests", "requests", "requests", "Requests that ended.", _count(lambda figures: figures.requests)),
    *(
        Metric(
            "requests",
            f"requests_{kind}xx",
            "requests",
            f"Responses with a status {kind}xx.",
            _count(lambda figures, kind=kind: figures.statuses[kind]),  # type: ignore[misc]
        )
        for kind in range(1, 6)
    ),
    Metric(
        "requests", "request_duration", "seconds", "From when a request came to its end.", _percentiles(lambda figures: figures.latency)
    ),
    *_CONTAINERS,
)
