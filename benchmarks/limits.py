"""Where the gateway could break: ten thousand idle connections, bodies of a gigabyte, a redeploy under load."""

import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import modal
import web
from engine import Engine
from figures import Figure
from http_load import Plan, begun, get

_IDLE = 10_000
_SPARE_FILES = 1000  # of a process that holds so many connections
_GIB = 1024**3
_PIECE = bytes(1024 * 1024)
_TRANSFER_SECONDS = 120.0
_RATE, _RATE_SECONDS, _RATE_CONNECTIONS = 200, 15.0, 20
_HOLDER = Path(__file__).parent / "idle.py"


def allow_many_files() -> int:
    """How many files this process, and the engine that it starts, may have open: as many as the machine lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _IDLE * 2 + _SPARE_FILES  # the gateway may have one socket more for each
    limit = hard if hard != resource.RLIM_INFINITY and hard < wanted else max(soft, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def idle_connections(engine: Engine) -> dict[str, Figure]:
    """Each has been answered once, and is kept. Memory of the engine and its supervisor."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    wanted = min(_IDLE, limit - _SPARE_FILES)
    address, request = web.target(engine, "bench-web", "served_route")
    before = engine.resident_mb()
    with subprocess.Popen(
        [sys.executable, _HOLDER, json.dumps([*address, request, wanted])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        opened = int(holder.stdout.readline())
        during = engine.resident_mb()
        holder.stdin.close()
        kept = int(holder.stdout.readline() or 0)
    return {
        "idle_connections": Figure(kept, "connections", opened, "opened" if wanted == _IDLE else f"opened; only {limit} files allowed"),
        "idle_10k_mb": Figure(during, "MB", 200, "goal"),
        "idle_10k_added_mb": Figure(during - before, "MB"),
    }


def bodies(engine: Engine) -> dict[str, Figure]:
    """The most memory that the engine had while a gigabyte went through, beside what it had before; and how fast that was."""
    _, request = web.target(engine, "bench-limits", "bodies")
    host = request.partition("Host: ")[2].partition("\r\n")[0]
    _download(engine, host, len(_PIECE))
    return {
        **_transfer(engine, "upload", lambda: _upload(engine, host)),
        **_transfer(engine, "download", lambda: _download(engine, host, _GIB)),
    }


def _transfer(engine: Engine, name: str, move: Callable[[], None]) -> dict[str, Figure]:
    before, started = engine.resident_mb(), time.perf_counter()
    with _peak_memory(engine) as peak:
        try:
            move()
        except (OSError, ValueError) as error:
            print(f"The {name} of 1 GiB did not come to its end: {error!r}", file=sys.stderr)
            return {}
    seconds = time.perf_counter() - started
    return {
        f"{name}_gib_mb": Figure(max(peak), "MB", before, "before"),
        f"{name}_mb_per_s": Figure(_GIB / 1_000_000 / seconds, "MB/s"),
    }


@contextmanager
def _peak_memory(engine: Engine) -> Iterator[list[float]]:
    seen, is_over = [engine.resident_mb()], threading.Event()

    def look() -> None:
        while not is_over.wait(0.05):
            seen.append(engine.resident_mb())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        is_over.set()
        looking.join()


def _upload(engine: Engine, host: str) -> None:
    with socket.create_connection(engine.gateway, timeout=_TRANSFER_SECONDS) as connection:
        connection.sendall(f"PUT / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {_GIB}\r\nConnection: close\r\n\r\n".encode())
        for _ in range(_GIB // len(_PIECE)):
            connection.sendall(_PIECE)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    if str(_GIB).encode() not in answer:
        raise ValueError(answer[:300])


def _download(engine: Engine, host: str, size: int) -> None:
    deadline, total = time.monotonic() + _TRANSFER_SECONDS, 0
    buffer = bytearray(1024 * 1024)
    with socket.create_connection(engine.gateway, timeout=_TRANSFER_SECONDS) as connection:
        connection.sendall(f"GET /{size} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        while (count := connection.recv_into(buffer)) and time.monotonic() < deadline:
            total += count
    if total < size:
        msg = f"{total} of {size} bytes came."
        raise ValueError(msg)


def redeploy(engine: Engine) -> dict[str, Figure]:
    """Requests on time at a fixed rate, and in the middle of them `modal deploy` of the next version."""
    address, request = _site(engine)
    plan = Plan(address=address, request=request, connections=_RATE_CONNECTIONS, seconds=_RATE_SECONDS, rate=_RATE)
    os.environ["VERSION"] = "2"
    with begun(plan) as outcome:
        time.sleep(_RATE_SECONDS / 5)
        engine.deploy("limits.py")
        load = outcome()
    os.environ["VERSION"] = "1"
    if not {"1", "2"} <= set(load.bodies):
        print(f"Not both versions have answered: {load.bodies}", file=sys.stderr)
    return {
        "redeploy_failed_requests": Figure(load.failed, "requests", load.count, "answered"),
        "redeploy_p50_ms": Figure(load.p50, "ms"),
        "redeploy_p99_ms": Figure(load.p99, "ms"),
    }


def _site(engine: Engine) -> web.Target:
    url = modal.Function.from_name("bench-limits", "site").get_web_url() or ""
    return engine.gateway, get(url.removeprefix("http://").rstrip("/"))
