"""HTTP: a deployed ASGI app through the gateway, beside the same app under a bare uvicorn in the same run."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import modal
from engine import APPS, Engine
from http_load import Load, load

_UVICORN_PORT_SECONDS = 20


def through_the_gateway(engine: Engine, connections: int) -> Load:
    url = modal.Function.from_name("bench-web", "served").get_web_url() or ""
    return load(engine.gateway, url.removeprefix("http://").rstrip("/"), connections)


@contextmanager
def bare_uvicorn() -> Iterator[tuple[str, int]]:
    """The same application, one process, nothing in between."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
    command = [sys.executable, "-m", "uvicorn", "web:answer", "--app-dir", APPS, "--port", str(address[1]), "--log-level", "error"]
    server = subprocess.Popen([*command, "--no-access-log", "--lifespan", "off"])
    try:
        _await_port(address)
        yield address
    finally:
        server.terminate()
        server.wait(10)


def _await_port(address: tuple[str, int]) -> None:
    deadline = time.monotonic() + _UVICORN_PORT_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(address, timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    msg = "uvicorn did not start."
    raise RuntimeError(msg)
