"""The engine killed while things are under way: alone, when its supervisor starts it again, or with its supervisor, as by a power cut.

The worker is a part of the engine's process: whoever kills one kills both.
"""

import time
from itertools import count

import pytest
from conformance.waiting import eventually

from faults.workload import Workload


def die_and_rise(work: Workload) -> None:
    """All of it dies, and a person starts it again."""
    work.engine.kill()
    work.engine.start()


def test_spawned_inputs_survive_an_engine_that_its_supervisor_starts_again(work: Workload) -> None:
    for number in range(300):
        work.spawn("quick", f"supervised-{number}", 1.0)
    eventually(lambda: work.finished() > 50, within=60, what="Some of them done")

    work.engine.kill_engine()

    assert work.finished() < 300, "it was killed in the middle"


def test_five_hundred_spawned_inputs_survive_an_engine_that_is_killed_while_they_run(work: Workload) -> None:
    for number in range(500):
        work.spawn("quick", f"five-hundred-{number}", 1.0)
    eventually(lambda: work.finished() > 50, within=60, what="Some of them done")

    die_and_rise(work)

    assert work.finished() < 500, "it was killed in the middle"


@pytest.mark.long(reason="the random faults do the same")
def test_spawned_inputs_survive_an_engine_that_is_killed_again_and_again(work: Workload) -> None:
    numbers = count()
    for _ in range(4):
        for number in (next(numbers) for _ in range(40)):
            work.spawn("quick", f"again-{number}", 0.5)
        die_and_rise(work)


def test_an_engine_killed_right_at_its_start_three_times_starts_the_fourth_time(work: Workload) -> None:
    for number in range(20):
        work.spawn("alone", f"early-{number}", 0.1)
    work.engine.kill()

    for patience in (0.2, 0.5, 0.8):  # of the second that a start takes
        work.engine.launch()
        time.sleep(patience)
        work.engine.kill()
    work.engine.start()


def test_changed_autoscaler_settings_survive_an_engine_that_is_killed(work: Workload) -> None:
    work.function("alone").autoscaler.update(max_containers=1)

    die_and_rise(work)

    for number in range(6):
        work.spawn("alone", f"one-by-one-{number}", 0.5)
    work.wait_until_running("one-by-one-5")
    assert len({work.task_of(f"one-by-one-{number}") for number in range(6)}) == 1
    work.function("alone").autoscaler.update(max_containers=3)
