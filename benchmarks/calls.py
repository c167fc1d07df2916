"""Warm calls through the stock client: one after the other, many at once, mapped, and spawned."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

import modal

_ONE_BY_ONE = 400
_TOGETHER = 1500
IN_FLIGHT = 32
_MAPPED = 3000
_CONTAINERS = 4
SPAWNED = 1000


def one_by_one() -> list[float]:
    """Milliseconds of each `.remote()`."""
    add = _warm("add")
    return [_timed(add, number) for number in range(_ONE_BY_ONE)]


def _timed(function: modal.Function, number: int) -> float:
    started = time.perf_counter()
    if function.remote(number) != number + 1:
        msg = f"A wrong answer to {number}."
        raise RuntimeError(msg)
    return (time.perf_counter() - started) * 1000


def per_second_together() -> float:
    """Calls per second with a fixed number in flight, over four containers."""
    return asyncio.run(_together(modal.Function.from_name("bench-spread", "add")))


async def _together(function: modal.Function) -> float:
    answering: set[str] = set()
    while len(answering) < _CONTAINERS:
        await in_flight(IN_FLIGHT, [_call(function, answering)] * 2 * IN_FLIGHT)
    return await in_flight(IN_FLIGHT, [_call(function, answering)] * _TOGETHER)


def _call(function: modal.Function, answering: set[str]) -> "Work":
    async def work() -> None:
        total, task_id = await function.remote.aio(1)
        if total != 1 + 1:
            msg = f"1 + 1 is not {total}."
            raise RuntimeError(msg)
        answering.add(task_id)

    return work


def spawned_per_second(at_once: int) -> float:
    """`.spawn()`s per second, each on disk when it returns."""
    function = _warm("add_together")
    return asyncio.run(in_flight(at_once, [lambda: function.spawn.aio(1)] * SPAWNED))


Work = Callable[[], Awaitable[object]]


async def in_flight(number: int, work: Sequence[Work]) -> float:
    """Do all of it, so many at a time; how many per second."""
    waiting = iter(work)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(number):
            group.create_task(_do_all(waiting))
    return len(work) / (time.perf_counter() - started)


async def _do_all(waiting: Iterator[Work]) -> None:
    for work in waiting:
        await work()


def mapped_per_second() -> float:
    function = _warm("add_together")
    started = time.perf_counter()
    results = list(function.map(range(_MAPPED)))
    seconds = time.perf_counter() - started
    if results != list(range(1, _MAPPED + 1)):
        msg = "The mapped results are wrong."
        raise RuntimeError(msg)
    return _MAPPED / seconds


def _warm(name: str) -> modal.Function:
    function = modal.Function.from_name("bench-trivial", name)
    for number in range(20):
        function.remote(number)
    return function
