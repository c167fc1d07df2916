"""Containers that are killed, frozen, starved, or do not want to go."""

import os
import signal
from contextlib import suppress

import pytest
from conformance.waiting import eventually

from faults.invariants import exit_code, strays
from faults.victims import Container, containers
from faults.workload import Workload

KILLED = 128 + signal.SIGKILL


def container_of(work: Workload, token: str) -> Container:
    """The container that runs the input with this token."""
    work.wait_until_running(token)
    task_id = work.task_of(token)
    return next(container for container in containers(work.engine.home) if container.task_id == task_id)


def test_a_container_that_is_killed_in_the_middle_of_an_input_gives_that_input_a_result_that_says_so(work: Workload) -> None:
    work.spawn_failing("exited with code 137", "alone", "killed", 600)

    container_of(work, "killed").kill()


def test_inputs_that_wait_behind_a_killed_container_are_run_by_another(work: Workload) -> None:
    work.spawn_failing("exited with code 137", "alone", "in-front", 600)
    victim = container_of(work, "in-front")
    for number in range(6):
        work.spawn("alone", f"behind-{number}", 0.2)

    victim.kill()


def test_all_containers_killed_at_once_lose_nothing_that_waits(work: Workload) -> None:
    for number in range(3):
        work.spawn_failing("exited with code 137", "alone", f"all-{number}", 600)
    for number in range(3):
        work.wait_until_running(f"all-{number}")
    for number in range(20):
        work.spawn("alone", f"later-{number}", 0)

    for victim in containers(work.engine.home):
        victim.kill()


def test_a_user_process_that_is_killed_ends_its_container_and_nothing_else(work: Workload) -> None:
    work.spawn_failing("exited with code 137", "alone", "user-process", 600)
    work.spawn("quick", "neighbour", 3)
    container = container_of(work, "user-process")
    work.wait_until_running("neighbour")

    for pid in set(container.processes()) - {container.pid}:
        with suppress(ProcessLookupError):  # it went with the one before it
            os.kill(pid, signal.SIGKILL)

    eventually(container.has_ended, within=60, what="The container ended")


def test_a_frozen_container_goes_on_where_it_was(work: Workload) -> None:
    work.spawn("alone", "frozen", 3)
    container = container_of(work, "frozen")

    container.freeze()
    work.spawn("alone", "meanwhile", 0)
    assert work.result(next(reversed(work.accepted))) == "meanwhile", "a frozen container holds up no other"
    container.thaw()


@pytest.mark.long(reason="the grace before the kill is half a minute")
def test_containers_that_cannot_or_will_not_hear_are_killed_after_their_grace(work: Workload) -> None:
    for name, token in (("short_of_time", "frozen-for-good"), ("stubborn", "deaf")):
        work.spawn_failing("timeout of 9s", name, token, 600)
    frozen, deaf = container_of(work, "frozen-for-good"), container_of(work, "deaf")

    frozen.freeze()

    for container in (frozen, deaf):
        eventually(container.has_ended, within=90, what="Its end")
        assert exit_code(work.engine, container.task_id) == KILLED


def test_a_container_that_runs_out_of_memory_gives_a_result_that_says_so(work: Workload) -> None:
    work.spawn_failing("memory", "greedy", "eats")


def test_a_function_that_takes_its_container_down_twice_answers_at_its_third_attempt(work: Workload) -> None:
    call_id = work.function("falls").spawn("third-time", 2).object_id

    assert work.result(call_id) == "third-time"
    assert work.runs()["third-time"] == 3


def test_a_waiting_caller_that_may_retry_gets_its_answer_though_containers_fall(work: Workload) -> None:
    assert work.function("falls").remote("remote-third-time", 2) == "remote-third-time"


def test_children_that_a_container_leaves_behind_end_with_it(work: Workload) -> None:
    work.spawn("parent", "leaves-children", 20)
    container = container_of(work, "leaves-children")
    eventually(lambda: len(container.processes()) > 20, within=60, what="Its children")
    family = container.processes()

    work.engine.modal("container", "stop", "--yes", container.task_id).succeeded()

    eventually(container.has_ended, within=60, what="The end of the container")
    eventually(lambda: not [pid for pid in family if os.path.exists(f"/proc/{pid}")], within=60, what="The end of its children")  # noqa: PTH110
    eventually(lambda: not strays(work.engine), within=60, what="Nothing left of it")
