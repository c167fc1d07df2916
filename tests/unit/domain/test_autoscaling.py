"""How many tasks a function gets, as pure decisions."""

from datetime import timedelta

import pytest

from freehold.domain.autoscaling import Decision, PoolSample, TaskSample, decide, desired_tasks
from freehold.domain.functions import AutoscalerSettings, Concurrency
from freehold.domain.ids import TaskId

CEILING = 16
ONE = Concurrency()


def a_sample(**changes):
    return PoolSample(**{"queued": 0, "running": 0, "tasks": (), **changes})


def a_task(name="ta-1", **changes):
    return TaskSample(**{"id": TaskId(name), "is_current": True, "is_ready": True, "running_inputs": 0, **changes})


def an_idle_task(name, seconds):
    return a_task(name, idle_for=timedelta(seconds=seconds))


class TestDesired:
    def test_nothing_runs_when_nothing_waits(self):
        assert desired_tasks(AutoscalerSettings(), ONE, a_sample(), CEILING) == 0

    @pytest.mark.parametrize(("queued", "running", "tasks"), [(1, 0, 1), (3, 0, 3), (3, 2, 5), (100, 0, CEILING)])
    def test_each_input_gets_a_task_up_to_the_ceiling(self, queued, running, tasks):
        assert desired_tasks(AutoscalerSettings(), ONE, a_sample(queued=queued, running=running), CEILING) == tasks

    def test_inputs_share_tasks_by_their_target_concurrency(self):
        shared = Concurrency(max_inputs=10, target_inputs=4)
        assert desired_tasks(AutoscalerSettings(), shared, a_sample(queued=9), CEILING) == 3

    def test_the_maximum_of_the_function_beats_need_and_ceiling(self):
        assert desired_tasks(AutoscalerSettings(max_containers=2), ONE, a_sample(queued=9), CEILING) == 2
        assert desired_tasks(AutoscalerSettings(max_containers=40), ONE, a_sample(queued=50), CEILING) == 40

    def test_the_minimum_is_kept_without_inputs(self):
        assert desired_tasks(AutoscalerSettings(min_containers=2), ONE, a_sample(), CEILING) == 2

    def test_the_buffer_comes_on_top_only_while_there_is_work(self):
        settings = AutoscalerSettings(buffer_containers=2)
        assert desired_tasks(settings, ONE, a_sample(), CEILING) == 0
        assert desired_tasks(settings, ONE, a_sample(queued=1), CEILING) == 3


class TestDecide:
    def test_starts_what_is_missing_and_says_why(self):
        decision = decide(AutoscalerSettings(), ONE, a_sample(queued=2, tasks=[a_task(running_inputs=0)]), CEILING)
        assert decision == Decision(start=1, reason="2 wanted for 2 queued and 0 running")

    def test_starts_nothing_while_crashes_hold_it_back(self):
        decision = decide(AutoscalerSettings(), ONE, a_sample(queued=2, may_start=False), CEILING)
        assert decision.start == 0
        assert "held back" in decision.reason

    def test_lets_go_of_idle_tasks_past_the_window_the_longest_idle_first(self):
        tasks = [an_idle_task("ta-1", 61), an_idle_task("ta-2", 90), an_idle_task("ta-3", 10)]
        decision = decide(AutoscalerSettings(min_containers=1), ONE, a_sample(tasks=tasks), CEILING)
        assert decision.drain == ("ta-2", "ta-1")

    def test_keeps_idle_tasks_that_are_still_needed(self):
        tasks = [an_idle_task("ta-1", 61), an_idle_task("ta-2", 90)]
        assert decide(AutoscalerSettings(min_containers=2), ONE, a_sample(tasks=tasks), CEILING) == Decision()

    def test_replaces_outdated_tasks_while_their_inputs_finish(self):
        old = a_task("ta-old", is_current=False, running_inputs=1)
        decision = decide(AutoscalerSettings(), ONE, a_sample(queued=1, tasks=[old]), CEILING)
        assert decision.drain == ("ta-old",)
        assert decision.start == 1
