"""`/metrics`: figures of functions and of the engine as text that Prometheus reads (format 0.0.4).

Names follow its conventions: units are seconds and bytes, what only grows ends in `_total`. Labels are those of the names of apps and
functions, of which the control plane gives a bounded number, and states.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from freehold.domain.figures import BOUNDS, Figures, Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, str]  # the name of the app and of the function

_SHOWN = [index for index, bound in enumerate(BOUNDS) if f"{bound:e}"[0] in "125" and bound >= BOUNDS[1]]  # from a millisecond on
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


class Now(Protocol):
    @property
    def queued(self) -> int: ...

    @property
    def running(self) -> int: ...

    @property
    def all_containers(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFigures:
    """What the engine says of itself. Seconds and bytes; `started_at` since 1970."""

    version: str
    modal: str
    started_at: float
    cpu_seconds: float
    resident_bytes: int
    containers: Mapping[str, int]  # by state
    loop_lag: float  # the longest of the last seconds
    commits: Histogram  # of the store


Functions = Mapping[Labels, tuple[Figures, Now]]
Measurements = Callable[[], Awaitable[tuple[Functions, EngineFigures]]]


class Sample(NamedTuple):
    labels: Mapping[str, str]
    value: float
    suffix: str = ""


class Family(NamedTuple):
    """All samples of one name."""

    name: str
    kind: str
    told: str
    samples: Sequence[Sample]


def text(families: Iterable[Family]) -> str:
    return "".join(line for family in families for line in _lines(family))


def of_functions(functions: Functions) -> Iterator[Family]:
    rows = [({"app": app, "function": function}, figures, now) for (app, function), (figures, now) in sorted(functions.items())]
    for name, told, count in _COUNTERS:
        yield Family(name, "counter", told, [Sample(labels, count(figures)) for labels, figures, _ in rows])
    for name, told, gauge in _GAUGES:
        yield Family(name, "gauge", told, [Sample(labels, gauge(now)) for labels, _, now in rows])
    told = "Seconds from when a call arrived to its end."
    samples = [sample for labels, figures, _ in rows for sample in _histogram(labels, figures.latency)]
    yield Family("freehold_call_duration_seconds", "histogram", told, samples)
    for name, told, durations in _SUMMARIES:
        sums = [sample for labels, figures, _ in rows for sample in _summary(labels, *durations(figures))]
        yield Family(name, "summary", told, sums)


def of_engine(engine: EngineFigures) -> Iterator[Family]:
    labels = {"version": engine.version, "modal": engine.modal}
    yield Family("freehold_build_info", "gauge", "The versions of the engine and of its modal package.", [Sample(labels, 1)])
    states = [Sample({"state": state}, count) for state, count in engine.containers.items()]
    yield Family("freehold_engine_containers", "gauge", "Containers by their state.", states)
    lag = "The longest time in the last ten seconds or so that the engine was late to do what was due."
    yield Family("freehold_event_loop_lag_seconds", "gauge", lag, [Sample({}, engine.loop_lag)])
    commits = _histogram({}, engine.commits)
    yield Family("freehold_store_commit_duration_seconds", "histogram", "How long the store took to commit.", list(commits))
    yield Family("process_start_time_seconds", "gauge", "When the engine started, in seconds since 1970.", [Sample({}, engine.started_at)])
    yield Family("process_cpu_seconds_total", "counter", "CPU time of the engine itself.", [Sample({}, engine.cpu_seconds)])
    yield Family("process_resident_memory_bytes", "gauge", "Memory of the engine itself.", [Sample({}, engine.resident_bytes)])


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.told}\n# TYPE {family.name} {family.kind}\n"
    for sample in family.samples:
        labels = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in sample.labels.items())
        yield (
            f"{family.name}{sample.suffix}{{{labels}}} {sample.value!r}\n" if labels else f"{family.name}{sample.suffix} {sample.value!r}\n"
        )


def _histogram(labels: Mapping[str, str], durations: Histogram) -> Iterator[Sample]:
    """By some of the bounds: each is a series of its own."""
    sums, count = durations.cumulative(), durations.count
    for index in _SHOWN:
        yield Sample({**labels, "le": f"{BOUNDS[index]:g}"}, sums[index], "_bucket")
    yield Sample({**labels, "le": "+Inf"}, count, "_bucket")
    yield from _summary(labels, durations.total, count)


def _summary(labels: Mapping[str, str], total: float, count: int) -> Iterator[Sample]:
    yield Sample(labels, total, "_sum")
    yield Sample(labels, count, "_count")


_COUNTERS: Sequence[tuple[str, str, Callable[[Figures], int]]] = (
    ("freehold_calls_total", "Calls that ended: inputs and web requests.", lambda figures: figures.calls),
    ("freehold_call_errors_total", "Calls that failed or timed out, and responses from 500 on.", lambda figures: figures.errors),
    ("freehold_call_timeouts_total", "Calls that timed out; they are errors too.", lambda figures: figures.timed_out),
    ("freehold_calls_cancelled_total", "Calls that were cancelled, or whose callers left.", lambda figures: figures.cancelled),
    (
        "freehold_container_errors_total",
        "Containers that crashed, ran out of memory, were lost or never ready.",
        lambda figures: figures.broken,
    ),
)
_GAUGES: Sequence[tuple[str, str, Callable[[Now], int]]] = (
    ("freehold_queued_calls", "Calls that wait for a container.", lambda now: now.queued),
    ("freehold_running_calls", "Calls that a container has.", lambda now: now.running),
    ("freehold_containers", "Containers, those that start or leave too.", lambda now: now.all_containers),
)
_SUMMARIES: Sequence[tuple[str, str, Callable[[Figures], tuple[float, int]]]] = (
    (
        "freehold_call_execution_seconds",
        "Seconds from when a container took a call to its end.",
        lambda figures: (figures.execution.total, figures.execution.count),
    ),
    (
        "freehold_container_start_seconds",
        "Cold starts: seconds from the wish for a container to when it was ready.",
        lambda figures: (figures.starts.total, figures.starts.count),
    ),
    ("freehold_batch_size", "Inputs of a batch, as they were given to a container.", lambda figures: (figures.batched, figures.batches)),
)
