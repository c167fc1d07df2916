"""What the engine writes to: a database that others hold, logs that are cut or cannot be written, a second engine."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from faults.database import locked
from faults.workload import Workload


def test_a_database_that_is_held_for_five_seconds_delays_spawn_and_not_remote(work: Workload) -> None:
    quick = work.function("quick")
    quick.remote("warm")
    with ThreadPoolExecutor() as pool:
        with locked(work.engine.home):
            spawning = [pool.submit(quick.spawn, f"held-up-{number}") for number in range(10)]
            deadline = time.monotonic() + 5
            assert quick.remote("during") == "during"
            while time.monotonic() < deadline:
                assert not any(one.done() for one in spawning), "acknowledged before it was on disk"
                time.sleep(0.1)
        work.accepted |= {one.result(timeout=60).object_id: f"held-up-{number}" for number, one in enumerate(spawning)}


@pytest.mark.long(reason="the store waits ten seconds for whoever holds it")
def test_results_that_come_while_the_database_is_held_for_long_are_kept(work: Workload) -> None:
    """Longer than the engine waits for the lock: what it could not write, it must write later."""
    for number in range(20):
        work.spawn("quick", f"held-for-long-{number}", 1)
    work.wait_until_running("held-for-long-19")

    pid = work.engine.pid
    with locked(work.engine.home):
        time.sleep(15)
    assert work.engine.pid == pid, "it died, and its supervisor started it again"


def test_a_second_engine_on_the_same_home_is_refused_and_disturbs_nothing(work: Workload) -> None:
    work.spawn("quick", "first-engine", 2)
    pid = work.engine.pid

    second = work.engine.freehold("up", env={"FREEHOLD_CONTROL_PORT": "1", "FREEHOLD_GATEWAY_PORT": "2"})

    assert second.code == 1
    assert "runs on" in second.output
    assert work.engine.pid == pid


def log_files(work: Workload) -> list[Path]:
    return sorted(path for path in (work.engine.home / "logs" / "apps" / work.app_id).rglob("*") if path.is_file())


DAMAGES = {
    "cut": lambda data: data[:-7],
    "zeros": lambda data: data + b"\0" * 4096,
    "half a line": lambda data: data + b'[1, "half a li',
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_log_whose_end_is_damaged_is_read_up_to_there_and_written_on(work: Workload, damage: Callable[[bytes], bytes]) -> None:
    for word in ("before-damage", "cut-off"):
        work.function("quick").remote(word)
        work.wait_until_running(word)
    newest = log_files(work)[-1]
    work.engine.kill()
    newest.write_bytes(damage(newest.read_bytes()))
    work.engine.start()

    work.function("quick").remote("after-damage")

    work.wait_until_running("after-damage")
    assert work.runs()["before-damage"]


def test_functions_answer_though_their_log_cannot_be_written(work: Workload) -> None:
    folder = work.engine.home / "logs" / "apps"
    work.engine.stop().succeeded()
    kept = folder.rename(folder.with_name("apps.kept"))
    folder.write_text("a file where a folder should be")
    work.engine.start()

    try:
        pid = work.engine.pid
        work.spawn("quick", "unheard")
        assert work.function("quick").remote("unheard-too") == "unheard-too"
        assert work.engine.pid == pid, "it died, and its supervisor started it again"
    finally:
        work.engine.kill()
        folder.unlink()
        shutil.move(kept, folder)
        work.engine.start()
