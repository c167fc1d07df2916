"""What containers use: CPU, memory and GPUs over time, and which part of that a single call had.

A container's use belongs to its function. A call has a part of it:

- Each moment is divided evenly among the inputs that run in the container then; web requests count as inputs. The sum of its parts is the
  call's **share**, in seconds.
- Memory and GPUs are had by the second: a call has as much of them as its share is of the time.
- CPU time is used by whatever runs: that of some seconds is divided among the calls that ran in them, by their shares. The start of the
  container (until it is ready) counts there as one more that runs; its part, like all that nobody ran for, is the function's alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from freehold.domain.ids import AppId, FunctionId

HOUR = timedelta(hours=1)
GIB = 1024**3
CPU, MEMORY, INPUTS = "cpu", "memory", "inputs"
_GPU = "gpu:"
_MICROSECONDS = 1e6
_LONGEST_SPAN = 600.0  # seconds between readings; what is longer is a clock that was set, or a machine that slept
_MOST_CALLS = 50_000  # between two readings of one container; what more calls there had is their function's


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Sums. `gpu_seconds` is by the name that the driver gives a device; `inputs` are those that ended, web requests among them."""

    cpu_core_seconds: float = 0.0
    memory_gib_seconds: float = 0.0
    gpu_seconds: Mapping[str, float] = field(default_factory=dict)
    inputs: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        names = {**self.gpu_seconds, **other.gpu_seconds}
        return Usage(
            cpu_core_seconds=self.cpu_core_seconds + other.cpu_core_seconds,
            memory_gib_seconds=self.memory_gib_seconds + other.memory_gib_seconds,
            gpu_seconds={name: self.gpu_seconds.get(name, 0.0) + other.gpu_seconds.get(name, 0.0) for name in names},
            inputs=self.inputs + other.inputs,
        )

    def part(self, *, cpu: float, time: float) -> "Usage":
        """So much of the CPU time, and of all that is had by the second."""
        return Usage(
            cpu_core_seconds=self.cpu_core_seconds * cpu,
            memory_gib_seconds=self.memory_gib_seconds * time,
            gpu_seconds={name: seconds * time for name, seconds in self.gpu_seconds.items()},
        )

    def amounts(self) -> dict[str, float]:
        """By resource, without zeros: as it is kept."""
        gpus = {_GPU + name: seconds for name, seconds in self.gpu_seconds.items()}
        all_ = {CPU: self.cpu_core_seconds, MEMORY: self.memory_gib_seconds, INPUTS: float(self.inputs), **gpus}
        return {resource: amount for resource, amount in all_.items() if amount}

    @classmethod
    def of_amounts(cls, amounts: Mapping[str, float]) -> "Usage":
        return cls(
            cpu_core_seconds=amounts.get(CPU, 0.0),
            memory_gib_seconds=amounts.get(MEMORY, 0.0),
            gpu_seconds={name.removeprefix(_GPU): seconds for name, seconds in amounts.items() if name.startswith(_GPU)},
            inputs=round(amounts.get(INPUTS, 0.0)),
        )


NOTHING = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionUsage:
    """Of one function, in the hour (or whatever was asked for) that begins then."""

    begins_at: datetime
    app_id: AppId
    function_id: FunctionId
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Of one call or task, up to now."""

    usage: Usage
    at: datetime  # the last addition to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A container's counters. `cpu_us` counts from its beginning; `memory_bytes` is what it has at the moment, 0 if nobody knows."""

    at: datetime
    cpu_us: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Of the curves of a container: what it used on average since the point before, in cores and bytes, and how many GPUs it holds."""

    at: datetime
    cpu_cores: float
    memory_bytes: int
    gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Seconds by call, since the last time that was asked. `kept` are the calls that the disk knows too; `busy` is for how long something
    ran, `finished` how many inputs ended.
    """

    of: Mapping[str, float]
    busy: float
    finished: int = 0
    kept: AbstractSet[str] = frozenset()


class Meter:
    """Divides the time of one container among what runs in it. Called for each input that begins and ends, so it only adds.

    `each` is what something that had run all the time would have by now. Whatever begins keeps it, and has the difference when it ends.
    """

    __slots__ = ("_at", "_busy", "_each", "_finished", "_kept", "_running", "_shares")

    def __init__(self) -> None:
        self._at = 0.0
        self._each = 0.0
        self._busy = 0.0
        self._running = 0
        self._finished = 0
        self._shares: dict[str, float] = {}
        self._kept: set[str] = set()

    def begin(self, now: float) -> float:
        """`now` is monotonic seconds. What is to be given to `end`."""
        self._advance(now)
        self._running += 1
        return self._each

    def end(self, now: float, since: float, call_id: str = "", *, is_kept: bool = False) -> None:
        """Of a web request that is no call, nobody asks for its part."""
        self._advance(now)
        self._running -= 1
        self._finished += 1
        if call_id:
            self.charge(call_id, since, is_kept=is_kept)

    def look(self, now: float) -> float:
        """What `begin` would say now."""
        self._advance(now)
        return self._each

    def charge(self, call_id: str, since: float, *, is_kept: bool = False) -> None:
        """What has run from `begin` to the last `look`, and may go on."""
        if call_id not in self._shares and len(self._shares) >= _MOST_CALLS:
            return
        self._shares[call_id] = self._shares.get(call_id, 0.0) + self._each - since
        if is_kept:
            self._kept.add(call_id)

    def take(self) -> Shares:
        shares = Shares(of=self._shares, busy=self._busy, finished=self._finished, kept=self._kept)
        self._shares, self._kept, self._busy, self._finished = {}, set(), 0.0, 0
        return shares

    def _advance(self, now: float) -> None:
        if self._running > 0 and now > self._at:
            self._each += (now - self._at) / self._running
            self._busy += now - self._at
        self._at = now


def span(before: Reading, now: Reading) -> float:
    """Seconds between two readings."""
    return min(max((now.at - before.at).total_seconds(), 0.0), _LONGEST_SPAN)


def between(before: Reading, now: Reading, gpus: Sequence[str]) -> Usage:
    """What a container used from one reading to the next, with these GPUs, by name. A counter that went back has begun anew."""
    seconds = span(before, now)
    cpu_us = now.cpu_us - before.cpu_us if now.cpu_us >= before.cpu_us else now.cpu_us
    memory = (before.memory_bytes + now.memory_bytes) / 2 if before.memory_bytes and now.memory_bytes else now.memory_bytes
    held: dict[str, float] = {}
    for name in gpus:
        held[name] = held.get(name, 0.0) + seconds
    return Usage(cpu_core_seconds=cpu_us / _MICROSECONDS, memory_gib_seconds=memory / GIB * seconds, gpu_seconds=held)


def divided(used: Usage, shares: Shares, *, seconds: float, starting: float) -> dict[str, Usage]:
    """The parts of calls in what was used in so many seconds, in `starting` of which the container was not ready."""
    worked = max(shares.busy, sum(shares.of.values())) + starting
    whole = max(seconds, worked)
    if not whole or not worked:
        return {}
    return {call_id: used.part(cpu=share / worked, time=share / whole) for call_id, share in shares.of.items()}


def point(before: Reading, now: Reading, gpus: int) -> Point:
    seconds = span(before, now)
    cores = max(now.cpu_us - before.cpu_us, 0) / _MICROSECONDS / seconds if seconds else 0.0
    return Point(at=now.at, cpu_cores=cores, memory_bytes=now.memory_bytes, gpus=gpus)


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def summed(rows: Iterable[FunctionUsage]) -> Usage:
    total = NOTHING
    for row in rows:
        total += row.usage
    return total
