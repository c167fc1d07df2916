"""What functions did, in figures that add up: over time, and over functions.

Durations are histograms with the same bounds everywhere, so that they add up too; percentiles are read from them, and are as exact as the bounds
are close.
"""

from bisect import bisect_left
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

# Seconds; four to a decade from a millisecond to a quarter of an hour, and what is above.
BOUNDS: tuple[float, ...] = (0.0005, *(float(f"{digit}e{power}") for power in range(-3, 3) for digit in (1, 2, 3, 5)), 1000.0)
STATUS_CLASSES = 6  # of HTTP responses: none, 1xx, …, 5xx

_EMPTY = (0,) * (len(BOUNDS) + 1)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations in seconds: how many up to each of the bounds (and above the last), and their sum."""

    counts: tuple[int, ...] = _EMPTY
    total: float = 0.0

    @staticmethod
    def of(values: Iterable[float]) -> "Histogram":
        durations = Durations()
        for value in values:
            durations.add(value)
        return durations.histogram()

    def __add__(self, other: "Histogram") -> "Histogram":
        return _added([self, other])

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None

    def percentile(self, percent: float) -> float | None:
        """Seconds that so many percent stayed below; None of nothing. Within a bucket, durations are taken to be spread evenly."""
        wanted, below = self.count * percent / 100, 0
        if not self.count:
            return None
        for index, count in enumerate(self.counts):
            if count and below + count >= wanted:
                return _between(index, (wanted - below) / count)
            below += count
        return BOUNDS[-1]

    def cumulative(self) -> list[int]:
        """How many lasted at most as long as each of the bounds."""
        sums, total = [], 0
        for count in self.counts[:-1]:
            total += count
            sums.append(total)
        return sums


class Durations:
    """A histogram that grows."""

    __slots__ = ("_counts", "_total")

    def __init__(self) -> None:
        self._counts = [0] * len(_EMPTY)
        self._total = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._total += seconds

    def histogram(self) -> Histogram:
        return Histogram(tuple(self._counts), self._total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What happened to one function, or to several together, in a span of time.

    Calls are inputs and web requests that ended. Gauges were looked at `samples` times: sums, the largest, and the last seen.
    """

    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    cancelled: int = 0  # by their callers: neither a success nor an error
    statuses: tuple[int, ...] = (0,) * STATUS_CLASSES  # of web requests; the first: those that got no response
    latency: Histogram = field(default_factory=Histogram)  # from when a call arrived to its end
    execution: Histogram = field(default_factory=Histogram)  # from when a container took it to its end
    starts: Histogram = field(default_factory=Histogram)  # containers that became ready: from the wish for them to then
    ended: int = 0  # containers
    broken: int = 0  # of these: crashed, out of memory, lost or never ready
    batches: int = 0
    batched: int = 0  # inputs in them
    largest_batch: int = 0
    samples: int = 0
    queued: int = 0
    most_queued: int = 0
    running: int = 0
    most_running: int = 0
    containers: int = 0
    most_containers: int = 0
    last_containers: int = 0
    measured: float = 0.0  # seconds of containers, of which these are known: core-seconds, GiB-seconds, and seconds that GPUs were held
    cpu: float = 0.0
    memory: float = 0.0
    gpu: float = 0.0
    most_cpu: float = 0.0  # of one container over a few seconds: cores, and GiB
    most_memory: float = 0.0

    @property
    def calls(self) -> int:
        return self.succeeded + self.failed + self.timed_out + self.cancelled

    @property
    def errors(self) -> int:
        return self.failed + self.timed_out

    @property
    def requests(self) -> int:
        return sum(self.statuses)

    @property
    def all_containers(self) -> int:
        """How many different ones there were: those that ended, and those that are left."""
        return self.ended + self.last_containers

    @property
    def mean_queued(self) -> float:
        return self.queued / self.samples if self.samples else 0.0

    @property
    def mean_running(self) -> float:
        return self.running / self.samples if self.samples else 0.0

    @property
    def mean_containers(self) -> float:
        return self.containers / self.samples if self.samples else 0.0

    @property
    def mean_cpu(self) -> float | None:
        """Cores, of one container."""
        return self.cpu / self.measured if self.measured else None

    @property
    def mean_memory(self) -> float | None:
        """GiB, of one container."""
        return self.memory / self.measured if self.measured else None

    @property
    def mean_gpus(self) -> float | None:
        """That one container held."""
        return self.gpu / self.measured if self.measured else None

    @property
    def mean_batch(self) -> float | None:
        return self.batched / self.batches if self.batches else None

    def then(self, later: "Figures") -> "Figures":
        """Of the same function, over both spans of time."""
        return in_turn([self, later])

    def beside(self, other: "Figures") -> "Figures":
        """Of both functions, over the same span of time."""
        return together([self, other])


def in_turn(figures: Iterable[Figures]) -> Figures:
    """Of one function, over spans of time of which each follows on the one before: the largest of all, and the last that was seen."""
    many = list(figures)
    last = next((one.last_containers for one in reversed(many) if one.samples), many[0].last_containers if many else 0)
    return _joined(many, sums=_SUMS | {"samples"}, largest=_LARGEST, last_containers=last)


def together(figures: Iterable[Figures]) -> Figures:
    """Of several functions, over the same span of time. The largest ones are added, as if they had been at the same moment; those of a
    single container or batch are not.
    """
    many = list(figures)
    return _joined(many, sums=_SUMS | _LARGEST - _OF_ONE, largest={"samples"} | _OF_ONE, last_containers=_sum(many, "last_containers"))


def _joined(many: list[Figures], *, sums: AbstractSet[str], largest: AbstractSet[str], last_containers: int) -> Figures:
    if len(many) < 2:  # noqa: PLR2004
        return many[0] if many else NOTHING
    joined: dict[str, Any] = {name: _sum(many, name) for name in sums}
    joined |= {name: max(map(attrgetter(name), many)) for name in largest}
    joined |= {name: _added([getattr(one, name) for one in many]) for name in _HISTOGRAMS}
    joined["statuses"] = tuple(map(sum, zip(*(one.statuses for one in many), strict=True)))
    return Figures(last_containers=last_containers, **joined)


def _sum(many: list[Figures], name: str) -> Any:
    return sum(map(attrgetter(name), many))


def _added(histograms: Iterable[Histogram]) -> Histogram:
    """Most are empty: those are passed over."""
    many = [one for one in histograms if one.counts is not _EMPTY]
    if len(many) < 2:  # noqa: PLR2004
        return many[0] if many else Histogram()
    return Histogram(tuple(map(sum, zip(*(one.counts for one in many), strict=True))), sum(one.total for one in many))


def _between(index: int, share: float) -> float:
    if index == len(BOUNDS):
        return BOUNDS[-1]
    low = BOUNDS[index - 1] if index else 0.0
    return low + (BOUNDS[index] - low) * share


_HISTOGRAMS = frozenset({"latency", "execution", "starts"})
_OF_ONE = frozenset({"largest_batch", "most_cpu", "most_memory"})
_LARGEST = _OF_ONE | {"most_queued", "most_running", "most_containers"}
_SUMS = frozenset(one.name for one in fields(Figures)) - _HISTOGRAMS - _LARGEST - {"statuses", "samples", "last_containers"}
NOTHING = Figures()
