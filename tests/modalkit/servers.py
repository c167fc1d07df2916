"""Real servers for the tests, on loopback and on ports that are free."""

import contextlib
import socket
import subprocess
import sys
import time

from ports import free_port


@contextlib.contextmanager
def running(command, port):
    """A program that listens at `port`, until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield process
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def redis():
    """The address of a redis-server."""
    port = free_port()
    with running(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], port):
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def moto():
    """The address of moto's server, which speaks as AWS does."""
    port = free_port()
    with running([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port):
        yield f"http://127.0.0.1:{port}"


def _wait_for(port, process):
    until = time.monotonic() + 30
    while time.monotonic() < until:
        assert process.poll() is None, "it ended at once"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    msg = f"nothing listens at {port}"
    raise AssertionError(msg)
