"""Work to disturb: every execution prints the token of its input, every result is that token."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import modal

VERSION = 1
STEPS = ()

app = modal.App("work", image=modal.Image.debian_slim().run_commands(*STEPS))


def _note(token: str) -> None:
    """Read by the tests in the log, which outlives containers and engines."""
    print(f"ran {token}", flush=True)


@app.function()
def version() -> int:
    return VERSION


@app.function(max_containers=2, scaledown_window=20)
@modal.concurrent(max_inputs=32)
async def quick(token: str, seconds: float = 0) -> str:
    _note(token)
    await asyncio.sleep(seconds)
    return token


@app.function(max_containers=3, scaledown_window=20)
def alone(token: str, seconds: float = 0) -> str:
    _note(token)
    time.sleep(seconds)
    return token


STEADFAST = modal.Retries(max_retries=10, initial_delay=0.0)


@app.function(max_containers=2, scaledown_window=20, retries=STEADFAST)
@modal.concurrent(max_inputs=32)
async def steady(token: str, seconds: float = 0) -> str:
    """What a container takes with it is tried again."""
    _note(token)
    await asyncio.sleep(seconds)
    return token


@app.function(max_containers=3, scaledown_window=5, retries=STEADFAST)
def steady_alone(token: str, seconds: float = 0) -> str:
    _note(token)
    time.sleep(seconds)
    return token


@app.function(timeout=9, startup_timeout=60, scaledown_window=20)
def short_of_time(token: str, seconds: float) -> str:
    _note(token)
    time.sleep(seconds)
    return token


@app.function(max_containers=1, scaledown_window=60)
def tally(token: str, _counts: dict[str, int] = {}) -> int:  # noqa: B006 — kept between inputs on purpose: one container counts for all
    """How often it was called with this token."""
    _counts[token] = _counts.get(token, 0) + 1
    return _counts[token]


@app.function(retries=modal.Retries(max_retries=2, initial_delay=0.0), scaledown_window=20)
def falls(token: str, times: int) -> str:
    """Takes its container with it, so many times."""
    _note(token)
    if tally.remote(token) <= times:
        os._exit(3)
    return token


@app.function(memory=(64, 256))
def greedy(token: str) -> str:
    _note(token)
    block = bytearray(1024 * 1024 * 1024)
    block[::4096] = b"x" * len(block[::4096])
    return token


def _hear_nothing() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@app.function(timeout=9, startup_timeout=60, scaledown_window=2)
def stubborn(token: str, seconds: float) -> str:
    """Hears neither SIGINT nor SIGTERM."""
    _hear_nothing()
    _note(token)
    time.sleep(seconds)
    return token


@app.function(scaledown_window=2)
def deaf(token: str, seconds: float) -> str:
    """The same, with all the time in the world."""
    _hear_nothing()
    _note(token)
    time.sleep(seconds)
    return token


@app.function(scaledown_window=20)
def parent(token: str, children: int) -> str:
    """Leaves children behind that ask for nothing and hear nothing."""
    _note(token)
    for _ in range(children):
        subprocess.Popen(["/bin/sh", "-c", "trap '' INT TERM HUP; sleep 900; sleep 900"], start_new_session=True)
    return token


@app.function(max_containers=1, scaledown_window=20)
@modal.wsgi_app()
def site() -> Callable[..., Iterator[bytes]]:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [("content-type", "text/plain")])
        yield environ["QUERY_STRING"].encode()

    return answer
