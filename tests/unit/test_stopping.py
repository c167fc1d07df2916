"""An engine that is asked to end does: in order, or after its deadline anyhow. In a process of its own, which ends."""

import signal
import subprocess
import sys
import time

import pytest

from freehold.stopping import OVERDUE

DEADLINE = 30
PROGRAM = """
import asyncio, contextlib, sys, time
from freehold.observability import logging
from freehold.stopping import Stopping

logging.configure()

@contextlib.asynccontextmanager
async def a_part():
    yield
    await never_closes()

async def never_closes():
    WAIT

async def main():
    stopping = Stopping(SECONDS)
    stopping.heed_signals()
    async with a_part():
        print("runs", flush=True)
        await stopping.asked.wait()

asyncio.run(main())
"""


def ended(wait: str, *, seconds: float, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, float]:
    """Exit status, what it said, and seconds from the signal."""
    program = PROGRAM.replace("WAIT", wait).replace("SECONDS", str(seconds))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        started = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=DEADLINE)
        return process.returncode, said, time.monotonic() - started


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_ends_in_time_just_ends(number: signal.Signals) -> None:
    assert ended("pass", seconds=10, number=number)[:2] == (0, "")


@pytest.mark.parametrize("wait", ["await asyncio.sleep(1000)", "time.sleep(1000)", "await asyncio.to_thread(time.sleep, 1000)"])
def test_one_that_does_not_says_where_it_stands_and_ends(wait: str) -> None:
    """Also where the loop is stuck, or a thread that the end of the process would wait for."""
    code, said, seconds = ended(wait, seconds=0.3)

    assert (code, seconds >= 0.3) == (OVERDUE, True)
    assert "engine_stop_overdue" in said
    assert "in a_part" in said
    assert "in never_closes" in said
