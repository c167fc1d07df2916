"""What becomes of inputs whose container ended."""

from datetime import timedelta

import pytest

from freehold.domain.retries import MAX_LOSSES, Fate, after_exit, is_hopeless, pause_after, start_failure
from freehold.domain.tasks import ExitKind, TaskExit


def an_exit(kind, **changes):
    return TaskExit(kind=kind, **changes)


@pytest.mark.parametrize("kind", [ExitKind.LOST, ExitKind.STOPPED, ExitKind.NOT_STARTED])
def test_an_input_whose_container_was_taken_away_waits_for_another(kind):
    assert after_exit(an_exit(kind), losses=1).fate is Fate.QUEUE_AGAIN


def test_an_input_that_loses_container_after_container_is_given_up():
    verdict = after_exit(an_exit(ExitKind.LOST), losses=MAX_LOSSES)
    assert verdict.fate is Fate.FAIL
    assert str(MAX_LOSSES) in verdict.text


def test_an_input_whose_container_crashed_fails_with_its_last_output():
    verdict = after_exit(an_exit(ExitKind.CRASHED, code=139, detail="Segmentation fault"), losses=1)
    assert verdict.fate is Fate.FAIL
    assert "139" in verdict.text
    assert "Segmentation fault" in verdict.text


def test_out_of_memory_is_told_apart_from_a_crash():
    verdict = after_exit(an_exit(ExitKind.OUT_OF_MEMORY, code=137), losses=1)
    assert verdict.fate is Fate.FAIL_OUT_OF_MEMORY
    assert "memory" in verdict.text


def test_code_that_dies_at_start_fails_its_callers_at_once_but_a_machine_may_fail_twice():
    assert is_hopeless(an_exit(ExitKind.CRASHED), failed_starts=1)
    assert not is_hopeless(an_exit(ExitKind.NOT_STARTED), failed_starts=2)
    assert is_hopeless(an_exit(ExitKind.NOT_STARTED), failed_starts=3)


def test_a_container_that_is_killed_while_it_starts_is_given_two_more():
    killed = an_exit(ExitKind.CRASHED, code=137)

    assert [is_hopeless(killed, failed_starts=number) for number in (1, 2, 3)] == [False, False, True]


def test_a_disk_without_room_is_waited_for():
    assert not is_hopeless(an_exit(ExitKind.NOT_STARTED, detail="[Errno 28] No space left on device: '/x'"), failed_starts=100)


def test_a_failed_start_says_what_the_container_printed_last():
    assert "ModuleNotFoundError" in start_failure(an_exit(ExitKind.CRASHED, code=1, detail="ModuleNotFoundError: x"))


def test_pauses_double_up_to_a_minute():
    assert pause_after(0) == timedelta(0)
    assert pause_after(2) == 2 * pause_after(1)
    assert pause_after(1000) == timedelta(seconds=60)
