"""Every way to call a function."""

import asyncio
import hashlib
import itertools
import threading
import time
from collections.abc import AsyncIterator, Iterator

import modal

app = modal.App("functions")


class OutOfStock(Exception):
    """What a shop raises."""


@app.function(max_containers=2)
def square(x: float) -> float:
    return x * x


@app.function()
async def add(x: int, y: int = 0) -> int:
    await asyncio.sleep(0)
    return x + y


@app.function(max_containers=2)
@modal.concurrent(max_inputs=10)
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.function()
def invert(x: int) -> float:
    print(f"inverting {x}")
    return 1 / x


@app.function()
def order(fruit: str, count: int) -> None:
    _look_in_the_store(fruit, count)


def _look_in_the_store(fruit: str, count: int) -> None:
    raise OutOfStock(fruit, count)


@app.function()
@modal.concurrent(max_inputs=10)
def echo(*args: object, **kwargs: object) -> tuple[object, ...]:
    return (*args, *kwargs.items())


@app.function()
def digest_and_reverse(data: bytes) -> tuple[str, bytes]:
    return hashlib.sha256(data).hexdigest(), data[::-1]


@app.function()
def count_to(n: int) -> Iterator[int]:
    yield from range(1, n + 1)


goes_on = threading.Semaphore(0)
falls = threading.Event()


@app.function(max_containers=1)
@modal.concurrent(max_inputs=2)
async def count_when_told(n: int) -> AsyncIterator[int | str]:
    """Waits after each value for a call with nothing to count."""
    if not n:
        goes_on.release()
        yield "go on"
    for number in range(1, n + 1):
        yield number
        await asyncio.to_thread(goes_on.acquire, timeout=60)


@app.function(max_containers=1)
@modal.concurrent(max_inputs=2)
def count_and_fall(n: int) -> Iterator[int | str]:
    """Falls when a call with nothing to count has come: the client tells of an error at once, whatever it has not read yet."""
    if not n:
        falls.set()
        yield "fall"
        return
    yield from range(1, n + 1)
    falls.wait(60)
    message = f"fell at {n}"
    raise RuntimeError(message)


tries = itertools.count(1)


@app.function(max_containers=1, retries=modal.Retries(max_retries=3, initial_delay=0.0))
def third_time_lucky() -> int:
    attempt = next(tries)
    if attempt < 3:
        message = f"try {attempt}"
        raise RuntimeError(message)
    return attempt


@app.function(timeout=3)
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.function()
def square_plus(x: int) -> float:
    """A function that calls others of its app."""
    return square.remote(x) + add.remote(1, y=2)
