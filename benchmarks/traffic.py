"""Traffic for the simulation: when inputs come to which function, and how long each takes. Made, or recorded on a real engine."""

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from freehold.domain.functions import AutoscalerSettings, Concurrency
from freehold.domain.placement import Amounts

Draw = Callable[[random.Random], float]


@dataclass(frozen=True, slots=True)
class Arrival:
    at: float
    function: str
    takes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Arrivals in order of time, over so many seconds, and what the functions are like."""

    name: str
    arrivals: Sequence[Arrival]
    seconds: float
    cold_start: Draw
    settings: dict[str, AutoscalerSettings] = field(default_factory=dict)
    concurrency: Concurrency = field(default_factory=Concurrency)
    books: Amounts = field(default_factory=lambda: Amounts(milli_cpu=1000, memory_mib=512))
    real_waits: Sequence[float] = ()  # of a recorded one


def about(median: float, spread: float = 0.3) -> Draw:
    """Log-normal: most are near the median, a few much longer, as starts and service times are."""
    return lambda chance: chance.lognormvariate(math.log(median), spread)


def pareto(least: float, shape: float = 1.5) -> Draw:
    """A heavy tail: one in a thousand takes a hundred times as long as the shortest."""
    return lambda chance: min(least * chance.paretovariate(shape), 1000 * least)


def constant(rate: float = 8, seconds: float = 600) -> Traffic:
    return _of_rate("constant", lambda _: rate, rate, seconds)


def diurnal(mean: float = 10, seconds: float = 1800) -> Traffic:
    """A day in half an hour."""
    return _of_rate("diurnal", lambda at: mean * (1 - math.cos(at / seconds * math.tau)), 2 * mean, seconds)


def ramp(top: float = 40, seconds: float = 600) -> Traffic:
    """Up for half of the time, then nothing."""
    return _of_rate("ramp", lambda at: top * at / seconds if at < seconds / 2 else 0.0, top, seconds)


def bursts(inputs: int = 32, pause: float = 100, seconds: float = 1200) -> Traffic:
    """Many at once, then nothing for longer than the scale-down window."""
    chance = random.Random(2)  # noqa: S311 — simulations are repeated exactly
    takes = about(1.0)
    starts = range(0, int(seconds), int(pause))
    arrivals = [Arrival(start + chance.random(), "f", takes(chance)) for start in starts for _ in range(inputs)]
    return Traffic(name="bursts", arrivals=sorted(arrivals, key=lambda item: item.at), seconds=seconds, cold_start=about(2.0))


def heavy_tailed(rate: float = 6, seconds: float = 900) -> Traffic:
    return _of_rate("heavy-tailed", lambda _: rate, rate, seconds, takes=pareto(0.2))


def many_small(functions: int = 200, rate: float = 30, seconds: float = 300) -> Traffic:
    """Few functions are called often and most rarely: the n-th 1/n times as often as the first."""
    chance = random.Random(3)  # noqa: S311
    names = [f"f{number}" for number in range(functions)]
    weights = [1 / (number + 1) for number in range(functions)]
    takes, at, arrivals = about(0.5), 0.0, []
    while (at := at + chance.expovariate(rate)) < seconds:
        arrivals.append(Arrival(at, chance.choices(names, weights)[0], takes(chance)))
    return Traffic(name="many small", arrivals=arrivals, seconds=seconds, cold_start=about(0.8))


def at_scale(containers: int = 10_000, functions: int = 200, seconds: float = 90) -> Traffic:
    """Demand for so many containers, in a quarter of the time: the size that the decisions must be fast enough for."""
    chance = random.Random(4)  # noqa: S311
    takes, arrivals = about(10.0), []
    while len(arrivals) < containers * seconds / 21:
        arrivals.append(Arrival(chance.triangular(0, seconds, seconds / 4), f"f{chance.randrange(functions)}", takes(chance)))
    settings = {f"f{number}": AutoscalerSettings(max_containers=200, scaledown_window=_seconds(10)) for number in range(functions)}
    return Traffic(
        name="at scale", arrivals=sorted(arrivals, key=lambda item: item.at), seconds=seconds, cold_start=about(1.5), settings=settings
    )


def recorded(path: Path) -> Traffic:
    """What `record_trace.py` wrote: real arrivals, real service times, cold starts drawn from the real ones."""
    trace = json.loads(path.read_text())
    arrivals = [Arrival(item["at"], item["function"], item["took"]) for item in trace["inputs"]]
    window = AutoscalerSettings(scaledown_window=_seconds(5), max_containers=16)
    narrow = AutoscalerSettings(scaledown_window=_seconds(5), max_containers=2)
    return Traffic(
        name="recorded",
        arrivals=arrivals,
        seconds=arrivals[-1].at + 30,
        cold_start=lambda chance: chance.choice(trace["cold_starts"]),
        settings={"quick": window, "slow": window, "narrow": narrow},
        books=Amounts(),
        real_waits=[item["waited"] for item in trace["inputs"]],
    )


def _of_rate(name: str, rate: Callable[[float], float], highest: float, seconds: float, takes: Draw | None = None) -> Traffic:
    arrivals = list(_thinned(rate, highest, seconds, takes or about(1.0)))
    return Traffic(name=name, arrivals=arrivals, seconds=seconds, cold_start=about(2.0))


def _thinned(rate: Callable[[float], float], highest: float, seconds: float, takes: Draw) -> Iterator[Arrival]:
    """A Poisson process whose rate changes: of those at the highest rate, the share that is due at the time."""
    chance, at = random.Random(1), 0.0  # noqa: S311
    while (at := at + chance.expovariate(highest)) < seconds:
        if chance.random() < rate(at) / highest:
            yield Arrival(at, "f", takes(chance))


def _seconds(number: float) -> timedelta:
    return timedelta(seconds=number)
