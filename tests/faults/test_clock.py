"""The machine's clock is set while inputs run: what lasts is measured by another clock, which nobody can set.

Setting the real one would disturb everything else on the machine, and libfaketime breaks Python's own sleep. So the engine under test is
started with `clock/` on its path, which moves what Python tells it; all else is real.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance.engine import Engine

from faults.conftest import APPS, held_against_the_engine
from faults.workload import Workload

HOUR = 3600


class WallClock:
    """The wall clock of one engine, as seconds that it is ahead."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "seconds-ahead"
        self.move(0)

    def move(self, seconds: int) -> None:
        self.file.write_text(str(seconds))


class ClockedEngine(Engine):
    """Its commands too run by that clock."""

    def __init__(self, home: Path, clock: WallClock) -> None:
        super().__init__(home)
        self._clock = clock

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "PYTHONPATH": str(Path(__file__).parent / "clock"), "FAULTS_CLOCK": str(self._clock.file)}


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> WallClock:
    return WallClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def clocked(engine: Engine, clock: WallClock) -> Iterator[Engine]:
    """An engine with this clock, in the place of the others' engine."""
    engine.stop().succeeded()
    live = ClockedEngine(engine.home, clock)
    live.start()
    live.modal("deploy", APPS / "work.py").succeeded()
    yield live
    clock.move(0)
    live.stop().succeeded()
    engine.start()


@pytest.fixture
def work(clocked: Engine) -> Iterator[Workload]:
    yield from held_against_the_engine(Workload(clocked))


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["ahead", "back"])
def test_a_clock_that_jumps_ends_no_input_early_and_retires_no_container(work: Workload, clock: WallClock, jump: int) -> None:
    word = "ahead" if jump > 0 else "back"
    for number in range(12):
        work.spawn("alone", f"{word}-waits-{number}", 0.5)
    work.spawn("short_of_time", f"{word}-in-time", 3)
    work.spawn_failing("timeout of 9s", "short_of_time", f"{word}-too-late", 600)
    work.wait_until_running(f"{word}-in-time")
    task_id = work.task_of(f"{word}-in-time")

    clock.move(jump)

    assert work.result_of(f"{word}-in-time") == f"{word}-in-time"
    assert task_id in work.alive(), "a container that was idle for a moment was let go as if it had been an hour"
    clock.move(0)


def test_a_clock_that_jumps_does_not_end_what_waits_over_a_restart(work: Workload, clock: WallClock) -> None:
    for number in range(20):
        work.spawn("alone", f"clock-and-kill-{number}", 0.3)
    work.wait_until_running("clock-and-kill-0")
    work.engine.kill()

    clock.move(-HOUR)
    work.engine.start()
    work.spawn("alone", "an-hour-earlier", 0)
    clock.move(HOUR)
    work.spawn("alone", "two-hours-later", 0)
