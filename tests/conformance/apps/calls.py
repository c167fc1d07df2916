"""Calls that go wrong, take too long, are cancelled, and call each other."""

import asyncio
import contextlib
import os
import time

import meeting
import modal

app = modal.App("calls", image=meeting.image, volumes=meeting.volumes)
tries: dict[str, int] = {}
moments: dict[str, list[float]] = {}


@app.function(max_containers=1, retries=modal.Retries(max_retries=3, initial_delay=0.0, backoff_coefficient=1.0))
def passes_at(key: str, number: int) -> int:
    """The count is kept in the container, which a failure leaves alive."""
    tries[key] = tries.get(key, 0) + 1
    print(f"{key}: try {tries[key]}")
    if tries[key] < number:
        msg = f"not yet, only try {tries[key]}"
        raise ValueError(msg)
    return tries[key]


@app.function(max_containers=1, retries=modal.Retries(max_retries=2, initial_delay=1.0, backoff_coefficient=2.0))
def times_of_tries(key: str) -> None:
    times = moments.setdefault(key, [])
    times.append(time.time())
    msg = f"try {len(times)} at {times}"
    raise ValueError(msg)


@app.function(retries=2)
def dies_until(moment: float) -> str:
    if time.time() < moment:
        os._exit(7)
    return "alive"


@app.function(timeout=8, max_containers=2)
@modal.concurrent(max_inputs=4)
def shared(seconds: float, place: str = "") -> str:
    """Sync, several at once: a thread for each."""
    time.sleep(seconds)
    if place:
        meeting.meet(place)
    return os.environ["MODAL_TASK_ID"]


@app.function(timeout=4, max_containers=1)
def alone(seconds: float) -> str:
    """Does not heed an interruption: what runs too long must be ended from outside."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(BaseException):
            time.sleep(0.1)
    return os.environ["MODAL_TASK_ID"]


def _nap(seconds: float, name: str) -> None:
    print(f"{name} begins")
    try:
        time.sleep(seconds)
    except BaseException as error:
        print(f"{name} was stopped by {type(error).__name__}")
        raise
    print(f"{name} ends")


async def _anap(seconds: float, name: str) -> None:
    print(f"{name} begins")
    try:
        await asyncio.sleep(seconds)
    except BaseException as error:
        print(f"{name} was stopped by {type(error).__name__}")
        raise
    print(f"{name} ends")


@app.function(max_containers=1)
def sync_nap(seconds: float, name: str) -> None:
    _nap(seconds, name)


@app.function(max_containers=1)
async def async_nap(seconds: float, name: str) -> None:
    await _anap(seconds, name)


@app.function(max_containers=1)
@modal.concurrent(max_inputs=5)
def threaded_nap(seconds: float, name: str) -> None:
    _nap(seconds, name)


@app.function(max_containers=1)
@modal.concurrent(max_inputs=5)
async def interleaved_nap(seconds: float, name: str, place: str = "") -> str:
    await _anap(seconds, name)
    if place:
        await meeting.meet_async(place)
    return os.environ["MODAL_TASK_ID"]


@app.function(max_containers=1)
@modal.batched(max_batch_size=4, wait_ms=300)
def together(numbers: list[int]) -> list[tuple[int, int]]:
    return [(number, len(numbers)) for number in numbers]


@app.function()
def leaf(x: int) -> int:
    return x + 1


@app.function()
def middle(x: int) -> int:
    return leaf.remote(x) + sum(leaf.map([1, 2]))


@app.function()
def top(x: int) -> str:
    middle.remote(x)
    return leaf.spawn(x).object_id


@app.function(max_containers=3)
def slow(seconds: float, x: int = 0) -> int:
    time.sleep(seconds)
    return x * x


@app.function()
def breaks(x: int) -> None:
    print(f"breaks at {x}")
    msg = f"broken by {x}"
    raise LookupError(msg)
