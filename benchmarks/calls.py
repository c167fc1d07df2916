"""Warm calls through the stock client: one after the other, many at once, and mapped."""

import asyncio
import time
from collections.abc import Iterator

import modal

_ONE_BY_ONE = 400
_TOGETHER = 1500
_IN_FLIGHT = 32
_MAPPED = 3000


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
    """Calls per second with a fixed number in flight."""
    return asyncio.run(_together(_warm("add_together")))


async def _together(function: modal.Function) -> float:
    numbers = iter(range(_TOGETHER))
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(_IN_FLIGHT):
            group.create_task(_call_all(function, numbers))
    return _TOGETHER / (time.perf_counter() - started)


async def _call_all(function: modal.Function, numbers: Iterator[int]) -> None:
    for number in numbers:
        await function.remote.aio(number)


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
