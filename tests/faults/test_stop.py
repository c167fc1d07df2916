"""The end of an engine, where it does not come in order: nothing stays on the machine, and nothing that was accepted is lost."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance.engine import Engine
from conformance.leftovers import leftovers

from faults.conftest import SETTINGS
from faults.workload import Workload

ONE_WISH = 1.0  # seconds in which a second signal is the same wish


class StuckEngine(Engine):
    """One part of it never stops."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "PYTHONPATH": str(Path(__file__).parent / "stuck")}


@pytest.fixture
def stuck(engine: Engine) -> Iterator[Engine]:
    """In the place of the others' engine."""
    engine.stop().succeeded()
    live = StuckEngine(engine.home, SETTINGS)
    live.start()
    yield live
    if live.is_running():
        live.kill()
    engine.start()


def test_an_engine_with_a_part_that_never_stops_says_where_it_stands_and_leaves_nothing(stuck: Engine) -> None:
    work = Workload(stuck)
    for number in range(3):
        work.spawn("alone", f"stuck-{number}", 0.1)
    for call_id in work.accepted:
        work.result(call_id)
    work.close()

    assert "The engine has ended" in stuck.stop().succeeded().output

    assert not leftovers(stuck.home)
    said = stuck.log_tail(200_000)
    assert "engine_stop_overdue" in said
    assert "in Engine.running" in said
    assert "tests/faults/stuck/sitecustomize.py" in said


def test_whoever_interrupts_twice_has_an_end_at_once_and_loses_nothing(work: Workload) -> None:
    work.spawn("deaf", "twice", 15)
    work.wait_until_running("twice")

    work.engine.interrupt()
    time.sleep(ONE_WISH * 3)  # however late the first of them is heard
    work.engine.interrupt()
    work.engine.wait_ended()

    assert not leftovers(work.engine.home)
    assert not work.finished(), "it was not waited for"
    work.engine.start()
