"""Which tasks of an earlier definition leave now, as pure decisions."""

from datetime import timedelta

import pytest

from freehold.domain.autoscaling import PoolSample, decide
from freehold.domain.functions import AutoscalerSettings, Concurrency
from freehold.domain.ids import TaskId
from freehold.domain.rollouts import TaskSample, gives_way, successors, to_drain


def old(name, running=0, *, ready=True):
    return TaskSample(id=TaskId(name), is_current=False, is_ready=ready, running_inputs=running)


def new(name, running=0, *, ready=True):
    return TaskSample(id=TaskId(name), is_current=True, is_ready=ready, running_inputs=running)


def drained(outdated, current=(), *, desired=0):
    return to_drain(outdated, current, desired=desired)


def test_without_outdated_tasks_there_is_nothing_to_hand_over():
    assert (successors([]), drained([], [new("ta-1")], desired=1)) == (0, ())


def test_what_was_warm_gets_one_successor_even_when_nobody_calls():
    assert successors([old("ta-1"), old("ta-2")]) == 1
    assert successors([old("ta-1", ready=False)]) == 0


def test_a_task_that_is_not_ready_leaves_at_once():
    assert drained([old("ta-1", ready=False)], desired=1) == ("ta-1",)


def test_the_last_ready_one_serves_until_its_successor_is_ready():
    assert drained([old("ta-1")]) == ()
    assert drained([old("ta-1")], [new("ta-2", ready=False)], desired=1) == ()
    assert drained([old("ta-1")], [new("ta-2")], desired=1) == ("ta-1",)


def test_more_than_is_needed_leave_at_once_the_idle_ones_first():
    assert drained([old("ta-1", 3), old("ta-2", 0), old("ta-3", 1)], desired=1) == ("ta-2", "ta-3")


@pytest.mark.parametrize("ready", range(5))
def test_under_load_each_new_one_takes_the_place_of_an_old_one(ready):
    outdated = [old(f"ta-old-{i}", 1) for i in range(4)]
    current = [new(f"ta-new-{i}", 1, ready=i < ready) for i in range(4)]
    assert len(drained(outdated, current, desired=4)) == ready


def test_with_a_new_version_that_never_starts_the_old_one_goes_on():
    settings, tasks = AutoscalerSettings(), [old("ta-1", 1), old("ta-2", 1)]
    decision = decide(settings, Concurrency(), PoolSample(queued=3, running=2, tasks=tasks, may_start=False), 16)
    assert (decision.start, decision.release) == (0, ())


def test_on_a_full_machine_an_old_one_gives_way_to_the_first_new_one():
    outdated = [old("ta-1", 2), old("ta-2", 1), old("ta-3", ready=False)]
    assert gives_way(outdated, others=0) == "ta-2"
    assert gives_way(outdated, others=1) is None, "one is on its way"
    assert gives_way([], others=0) is None


def test_the_minimum_is_kept_in_old_tasks_until_it_is_there_in_new_ones():
    tasks = [old("ta-1"), old("ta-2"), new("ta-3")]
    sample = PoolSample(queued=0, running=0, tasks=tasks)
    decision = decide(AutoscalerSettings(min_containers=2), Concurrency(), sample, 16)
    assert (decision.start, len(decision.release)) == (1, 1)


def test_an_old_task_outlives_its_window_while_it_has_no_successor():
    idle = TaskSample(id=TaskId("ta-1"), is_current=False, is_ready=True, running_inputs=0, idle_for=timedelta(hours=1))
    decision = decide(AutoscalerSettings(), Concurrency(), PoolSample(queued=0, running=0, tasks=[idle], may_start=False), 16)
    assert decision.release == ()
