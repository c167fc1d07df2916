"""Functions that are called from other languages."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import modal

app = modal.App("json-calls")


@app.function()
@modal.concurrent(max_inputs=10)
def describe(*args: object, **kwargs: object) -> dict[str, object]:
    return {"args": list(args), "kwargs": kwargs, "types": [type(value).__name__ for value in (*args, *kwargs.values())]}


@app.function()
def add(x: int, y: int = 0) -> int:
    return x + y


@app.function()
def raw() -> dict[str, object]:
    return {"picture": b"\x00\xff", "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}


@app.function()
def not_even_cbor() -> object:
    return iter


@app.function()
def fall(words: str) -> None:
    message = f"it fell: {words}"
    raise ValueError(message)


@app.function(retries=modal.Retries(max_retries=2, initial_delay=0, backoff_coefficient=1.0))
def falls_twice() -> str:
    state["tries"] += 1
    if state["tries"] < 3:
        message = f"try {state['tries']}"
        raise RuntimeError(message)
    return f"try {state['tries']}"


state = {"tries": 0}


@app.function(timeout=1)
def too_slow() -> None:
    time.sleep(30)


@app.function()
@modal.concurrent(max_inputs=10)
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


goes_on = threading.Semaphore(0)


@app.function(max_containers=1)
@modal.concurrent(max_inputs=10)
def when_told(*, tells: bool = False) -> str:
    """Waits for a call that tells it to go on."""
    if tells:
        goes_on.release()
        return "told"
    goes_on.acquire(timeout=60)
    return "it was told"


@app.function()
@modal.concurrent(max_inputs=10)
def count(n: int, fall_at: int = -1) -> Iterator[dict[str, object]]:
    for number in range(n):
        if number == fall_at:
            message = f"fell at {number}"
            raise RuntimeError(message)
        yield {"number": number, "at": time.time()}


@app.function(max_containers=1)
@modal.concurrent(max_inputs=10)
def count_when_told(n: int) -> Iterator[int | str]:
    """Waits after each value for a call with nothing to count."""
    if not n:
        goes_on.release()
        yield "go on"
    for number in range(n):
        yield number
        goes_on.acquire(timeout=60)


@app.function()
def size(text: str) -> int:
    return len(text)


@app.function()
def long_text(length: int) -> str:
    return "x" * length


@app.cls()
class Greeter:
    greeting: str = modal.parameter(default="good day")
    times: int = modal.parameter(default=1)

    @modal.method()
    def greet(self, name: str) -> str:
        return ", ".join([self.greeting] * self.times + [name])


@app.function()
@modal.fastapi_endpoint()
def page() -> str:
    return "a page"
