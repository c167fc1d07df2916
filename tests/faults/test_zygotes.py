"""What tasks are forked from is hit while they work, or before there are any."""

import os
import signal
from pathlib import Path

from conformance.deployment import versioned
from conformance.waiting import eventually

from faults.conftest import APPS
from faults.invariants import strays
from faults.victims import Container, needed_zygotes, zygotes
from faults.workload import Workload

SOON = 90  # seconds within which a zygote is there, on a busy machine


def all_forked(work: Workload, name: str, tokens: list[str], seconds: float) -> list[Container]:
    """Have containers at work that are all forks; what they were forked from."""
    eventually(lambda: _forks(work), within=SOON, what="A fork")
    _stop_all(work)
    for token in tokens:
        work.spawn(name, token, seconds)
    for token in tokens:
        work.wait_until_running(token)
    needed = needed_zygotes(work.engine.home)
    assert needed, "no container was forked"
    return [zygote for zygote in zygotes(work.engine.home) if zygote.task_id in needed]


def _forks(work: Workload) -> bool:
    """Whether a new container is forked, and the next will be: not from a zygote that has been killed, by a spare that outlived it."""
    _stop_all(work)
    work.function("alone").remote("is it forked?")
    needed = needed_zygotes(work.engine.home)
    return bool(needed) and all(_forking(zygote) for zygote in zygotes(work.engine.home) if zygote.task_id in needed)


def _stop_all(work: Workload) -> None:
    for task_id in work.alive():
        work.engine.modal("container", "stop", "--yes", task_id)  # which may have ended meanwhile
    eventually(lambda: not work.alive(), within=60, what="No container")


def test_tasks_at_work_go_on_when_what_forked_them_is_killed(work: Workload) -> None:
    tokens = [f"without-it-{number}" for number in range(3)]
    for zygote in all_forked(work, "alone", tokens, 4):
        (pid,) = _forking(zygote)
        os.kill(pid, signal.SIGKILL)

    for token in tokens:
        assert work.result_of(token) == token
    assert sum(work.runs()[token] for token in tokens) == len(tokens), "none of them was run again"


def test_inputs_at_work_are_tried_again_when_their_zygote_goes_with_all_that_it_forked(work: Workload) -> None:
    for zygote in all_forked(work, "steady_alone", [f"with-it-{number}" for number in range(3)], 4):
        zygote.kill()


def test_forked_tasks_go_on_over_an_engine_that_is_killed_and_nothing_of_them_is_left(work: Workload) -> None:
    """The next engine has nobody to ask for what it did not fork itself, but must end it."""
    before = {zygote.task_id for zygote in all_forked(work, "alone", [f"adopted-{number}" for number in range(3)], 4)}

    work.engine.kill_engine()
    work.engine.await_answer()

    assert before <= {zygote.task_id for zygote in zygotes(work.engine.home)}
    for call_id in work.accepted:
        work.result(call_id)
    _stop_all(work)
    eventually(lambda: not before & {zygote.task_id for zygote in zygotes(work.engine.home)}, within=90, what="Their end")


def test_an_engine_killed_while_a_zygote_loads_leaves_nothing_of_it(work: Workload, tmp_path: Path) -> None:
    """An app of another name has one of its own."""
    name = "another-work"
    before = {zygote.task_id for zygote in zygotes(work.engine.home)}
    work.engine.modal("deploy", "--name", name, versioned(APPS / "work.py", tmp_path, VERSION=1)).succeeded()
    other = Workload(work.engine, name)
    call_id = other.spawn("alone", "of-another", 0)
    loading = eventually(lambda: {zygote.task_id for zygote in zygotes(work.engine.home)} - before, within=SOON, what="One that loads")

    work.engine.kill_engine()
    work.engine.await_answer()

    eventually(lambda: not loading & {zygote.task_id for zygote in zygotes(work.engine.home)}, within=60, what="Its end")
    assert other.result(call_id) == "of-another"
    other.close()
    work.engine.modal("app", "stop", "--yes", name).succeeded()
    eventually(lambda: not strays(work.engine), within=60, what="Nothing left")


def _forking(zygote: Container) -> list[int]:
    """The process that is forked: in its container process 1 is tini, its child watches, and the child of that is it."""
    return [pid for pid in zygote.processes() if pid != zygote.pid and _parent(pid) != zygote.pid]


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
