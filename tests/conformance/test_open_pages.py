"""What open pages cost the engine, in seconds of CPU, which do not hang on who else uses the machine."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import modal
import psutil
import pytest

from conformance.conftest import CHECKOUT
from conformance.deployment import deployed
from conformance.engine import Engine

PAGES = 200
SETTLED, SECONDS = 10.0, 30.0
MOST = 0.1  # of a core: twice the goal, for a machine whose cores are shared


@pytest.mark.long(reason="it looks on for a minute")
def test_two_hundred_pages_that_change_all_the_time_cost_a_twentieth_of_a_core(engine: Engine) -> None:
    with deployed(engine, "adoption.py") as app, called(app.function("remember")):
        paths = ["/dash/", "/dash/calls", "/dash/containers", f"/dash/apps/{app.app_id}"]
        pages = [(f"{paths[n % 4]}?page={n}", app.app_id if n % 4 == 3 else "all") for n in range(PAGES)]
        without = share(engine)
        with opened(engine, pages) as readers:
            time.sleep(SETTLED)
            asked(readers)
            taken = share(engine)
            assert asked(readers)["contents"] > 0
    assert taken - without < MOST


def share(engine: Engine) -> float:
    """Of one core, that the engine takes."""
    process = psutil.Process(engine.pid)
    before, began = process.cpu_times(), time.monotonic()
    time.sleep(SECONDS)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / (time.monotonic() - began)


@contextmanager
def called(function: modal.Function) -> Iterator[None]:
    """Some times a second."""
    is_over = threading.Event()

    def call() -> None:
        while not is_over.wait(0.2):
            function.remote("again")

    function.remote("first")
    calling = threading.Thread(target=call)
    calling.start()
    try:
        yield
    finally:
        is_over.set()
        calling.join()


@contextmanager
def opened(engine: Engine, pages: list[tuple[str, str]]) -> Iterator["subprocess.Popen[str]"]:
    token = ":".join((engine.credentials["MODAL_TOKEN_ID"], engine.credentials["MODAL_TOKEN_SECRET"]))
    arguments = json.dumps([("127.0.0.1", engine.gateway_port), f"Authorization: Bearer {token}", pages])
    program = [sys.executable, CHECKOUT / "benchmarks" / "readers.py", arguments]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as readers:
        assert readers.stdout is not None
        assert readers.stdout.readline() == "open\n"
        yield readers
        readers.kill()


def asked(readers: "subprocess.Popen[str]") -> dict[str, float]:
    assert readers.stdin is not None
    assert readers.stdout is not None
    readers.stdin.write("\n")
    readers.stdin.flush()
    seen: dict[str, float] = json.loads(readers.stdout.readline())
    return seen
