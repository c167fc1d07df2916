"""What measuring costs: the same engine with and without all that it notes of what passes, in many short turns.

Two runs differ by more than what is looked for, and so do two engines. So one is switched (`switch/sitecustomize.py`) while it is up: each slice of
load with notes has its neighbour without, in changing order, and each pair gives one ratio. The median of those counts, and how far it can be
trusted is told by drawing the pairs anew a thousand times. The engine's CPU time for one request is told beside: it moves less with what else the machine
does.
"""

import asyncio
import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import modal
from calls import in_flight
from engine import Engine
from figures import Figure, percentile
from http_load import Plan, load
from web import target

_OFF, _ON = signal.SIGRTMIN + 1, signal.SIGRTMIN + 2  # as the switch has them
_CONNECTIONS = 32
_CALLERS = 16
_SLICE = 0.6  # seconds of requests
_CALLS = 200  # of a slice
_PAIRS = {"http": 20, "calls": 16}
_DRAWS = 1000
_SHARE = 0.95  # of the draws, whose medians lie between the two that are told

Work = Callable[[], tuple[int, float]]  # how many, in how many seconds


@dataclass(frozen=True)
class Slice:
    """`cpu` is the engine's for one request, in seconds."""

    per_second: float
    cpu: float


def figures(engine: Engine) -> dict[str, Figure]:
    try:
        return _compared(engine, "http", _requests(engine)) | _compared(engine, "calls", _call)
    finally:
        os.kill(engine.pid, _ON)


def _requests(engine: Engine) -> Work:
    address, request = target(engine, "bench-web", "served")
    plan = Plan(address=address, request=request, connections=_CONNECTIONS, seconds=_SLICE)

    def work() -> tuple[int, float]:
        done = load(plan)
        if done.failed:
            msg = f"{done.failed} requests were answered with something else than 200."
            raise RuntimeError(msg)
        return done.count, done.seconds

    return work


def _call() -> tuple[int, float]:
    function = modal.Function.from_name("bench-trivial", "add_together")
    return _CALLS, _CALLS / asyncio.run(in_flight(_CALLERS, [lambda: function.remote.aio(1)] * _CALLS))


def _compared(engine: Engine, name: str, work: Work) -> dict[str, Figure]:
    work()  # the first is another's time
    pairs = [_pair(engine.pid, work, begins_with=_ON if number % 2 else _OFF) for number in range(_PAIRS[name])]
    rates = [noted.per_second / bare.per_second for noted, bare in pairs]
    costs = [noted.cpu / bare.cpu for noted, bare in pairs]
    bare_us, noted_us = (statistics.median(each.cpu for each in side) * 1e6 for side in ([b for _, b in pairs], [n for n, _ in pairs]))
    return {
        f"measuring_{name}_rate_ratio": Figure(statistics.median(rates), f"ratio{_between(rates)}", 0.97, "goal"),
        f"measuring_{name}_cpu_ratio": Figure(statistics.median(costs), f"ratio{_between(costs)}"),
        f"measuring_{name}_cpu_us": Figure(noted_us, "µs", bare_us, "without"),
    }


def _pair(pid: int, work: Work, *, begins_with: int) -> tuple[Slice, Slice]:
    """With notes, and without."""
    seen = {state: _slice(pid, work, state) for state in (begins_with, _ON if begins_with == _OFF else _OFF)}
    return seen[_ON], seen[_OFF]


def _slice(pid: int, work: Work, state: int) -> Slice:
    os.kill(pid, state)
    clock = (~pid << 3) | 2  # of a process, as clock_getcpuclockid(3) makes it
    before = time.clock_gettime(clock)
    count, seconds = work()
    return Slice(count / seconds, (time.clock_gettime(clock) - before) / count)


def _between(ratios: Sequence[float]) -> str:
    chance = random.Random(1)  # noqa: S311 — the same each time
    medians = [statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(_DRAWS)]
    edge = (1 - _SHARE) / 2
    return f", {percentile(medians, edge):.3f} to {percentile(medians, 1 - edge):.3f}"
