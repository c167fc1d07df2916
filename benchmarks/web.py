"""HTTP: deployed apps through the gateway beside the same apps under a bare uvicorn, in alternating rounds."""

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import modal
from engine import APPS, Engine, free_port
from figures import Figure
from http_load import Load, Plan, get, load

_LOOP = "uvloop"  # on which containers serve; the same for the bare one
_START_SECONDS = 180  # Ray takes one minute where little is left of the machine
_WARM_UP_SECONDS = 1.0
_SECONDS = 2.0

Address = tuple[str, int]
Target = tuple[Address, str]  # where to, and the whole request

_groups: dict[Address, int] = {}  # of processes, by where they listen


@dataclass(frozen=True)
class Rounds:
    """The same load on one target, several times."""

    loads: Sequence[Load]

    @property
    def per_second(self) -> float:
        return statistics.median(load.per_second for load in self.loads)

    @property
    def p50(self) -> float:
        return statistics.median(load.p50 for load in self.loads)

    @property
    def p99(self) -> float:
        return statistics.median(load.p99 for load in self.loads)

    @property
    def failed(self) -> int:
        return sum(load.failed for load in self.loads)


def alternate(targets: Sequence[Target], connections: int, rounds: int, seconds: float = _SECONDS) -> list[Rounds]:
    """Short rounds in turn, so that what else the machine does falls on all alike. Raises when a server answers anything but 200.

    The other servers that `serving` has started stand still meanwhile: some poll when they have nothing to do, and nobody runs two.
    """
    plans = [Plan(address=address, request=request, connections=connections, seconds=seconds) for address, request in targets]
    for address, request in targets:
        load(Plan(address=address, request=request, connections=connections, seconds=_WARM_UP_SECONDS))
    seen = [[_load_alone(plan) for plan in plans] for _ in range(rounds)]
    results = [Rounds([turn[number] for turn in seen]) for number in range(len(targets))]
    for (address, _), result in zip(targets, results, strict=True):
        if result.failed or not result.per_second:
            msg = f"{address} answered {result.failed} requests with something else than 200."
            raise RuntimeError(msg)
    return results


def _load_alone(plan: Plan) -> Load:
    others = [group for address, group in _groups.items() if address != plan.address]
    for group in others:
        os.killpg(group, signal.SIGSTOP)
    try:
        return load(plan)
    finally:
        for group in others:
            os.killpg(group, signal.SIGCONT)


def target(engine: Engine, app: str, function: str, request: Callable[[str], str] = get) -> Target:
    url = modal.Function.from_name(app, function).get_web_url() or ""
    return engine.gateway, request(url.removeprefix("http://").rstrip("/"))


def figures(engine: Engine) -> dict[str, Figure]:
    route, raw = (target(engine, "bench-web", name) for name in ("served_route", "served"))
    with bare_uvicorn("web:routed", "--factory") as bare_route, bare_uvicorn("web:raw") as bare_raw:
        many, bare_many = alternate([route, (bare_route, get("localhost"))], 32, rounds=5)
        one, bare_one = alternate([route, (bare_route, get("localhost"))], 1, rounds=5)
        least, bare_least = alternate([raw, (bare_raw, get("localhost"))], 32, rounds=3)
    uvicorn = f"bare uvicorn, httptools, {_LOOP}"
    return {
        "http_async_32_per_s": Figure(many.per_second, "requests/s", bare_many.per_second, uvicorn),
        "http_async_32_ratio_to_uvicorn": Figure(many.per_second / bare_many.per_second, "ratio", 0.85, "goal"),
        "http_async_32_p99_ms": Figure(many.p99, "ms", bare_many.p99, uvicorn),
        "http_1_p50_ms": Figure(one.p50, "ms", bare_one.p50, uvicorn),
        "http_1_p50_added_ms": Figure(one.p50 - bare_one.p50, "ms", 0.2, "goal"),
        "http_1_p99_added_ms": Figure(one.p99 - bare_one.p99, "ms", 1.0, "goal"),
        "http_raw_32_per_s": Figure(least.per_second, "requests/s", bare_least.per_second, uvicorn),
    }


@contextmanager
def bare_uvicorn(app: str, *options: str) -> Iterator[Address]:
    """One process, with what containers serve with, nothing in between."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", app, *options, "--app-dir", str(APPS), "--port", str(port), "--log-level", "error"]
    settings = ["--no-access-log", "--lifespan", "off", "--loop", _LOOP, "--http", "httptools"]
    with serving([*command, *settings], port) as address:
        yield address


@contextmanager
def serving(command: Sequence[str], port: int, **options: object) -> Iterator[Address]:
    """Another server on this port of the loopback, until the block ends. Its workers end with it, whether it sees to that or not."""
    server = subprocess.Popen(command, start_new_session=True, **options)  # type: ignore[call-overload]
    try:
        _await_port(server, ("127.0.0.1", port))
        _groups["127.0.0.1", port] = server.pid
        yield "127.0.0.1", port
    finally:
        _groups.pop(("127.0.0.1", port), None)
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _await_port(server: "subprocess.Popen[bytes]", address: Address) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(address, timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    msg = f"{server.args[:3]!r} did not start to listen."  # type: ignore[index]
    raise RuntimeError(msg)
