"""How many tasks a function gets, as pure decisions."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.domain.autoscaling import PoolSample, Verdict, decide, desired_tasks, maximum_tasks
from freehold.domain.functions import AutoscalerSettings, Concurrency
from freehold.domain.ids import TaskId
from freehold.domain.rollouts import TaskSample

CEILING = 16
ONE = Concurrency()


def a_sample(**changes):
    return PoolSample(**{"queued": 0, "running": 0, "tasks": (), **changes})


def a_task(name="ta-1", **changes):
    return TaskSample(**{"id": TaskId(name), "is_current": True, "is_ready": True, "running_inputs": 0, **changes})


def an_idle_task(name, seconds):
    return a_task(name, idle_for=timedelta(seconds=seconds))


def released(decision):
    return [release.task_id for release in decision.release]


def seconds(number):
    return timedelta(seconds=number)


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

    def test_a_target_of_the_settings_beats_that_of_the_definition(self):
        shared = Concurrency(max_inputs=10, target_inputs=4)
        assert desired_tasks(AutoscalerSettings(target_concurrency=1.5), shared, a_sample(queued=3), CEILING) == 2


class TestUp:
    def test_starts_what_is_missing_and_says_why(self):
        decision = decide(AutoscalerSettings(), ONE, a_sample(queued=2, tasks=[a_task(running_inputs=0)]), CEILING)
        assert (decision.verdict, decision.start, decision.reason) == (Verdict.START, 1, "2 wanted for 2 queued and 0 running")

    def test_the_numbers_that_led_to_it_go_with_it(self):
        decision = decide(AutoscalerSettings(max_containers=3), ONE, a_sample(queued=9), CEILING)
        assert decision.numbers.items() >= {"wanted": 3, "tasks": 0, "queued": 9, "max_containers": 3}.items()

    def test_starts_nothing_while_crashes_hold_it_back(self):
        decision = decide(AutoscalerSettings(), ONE, a_sample(queued=2, may_start=False), CEILING)
        assert (decision.verdict, decision.start) == (Verdict.HELD_BACK, 0)

    def test_more_are_added_only_when_the_need_has_lasted_for_the_scaleup_window(self):
        settings = AutoscalerSettings(scaleup_window=seconds(30))
        busy = a_task(running_inputs=1)
        early = decide(settings, ONE, a_sample(queued=1, running=1, tasks=[busy], short_for=seconds(29)), CEILING)
        assert (early.verdict, early.start) == (Verdict.NOT_YET, 0)
        late = decide(settings, ONE, a_sample(queued=1, running=1, tasks=[busy], short_for=seconds(30)), CEILING)
        assert late.start == 1

    def test_the_first_task_waits_for_no_window(self):
        settings = AutoscalerSettings(scaleup_window=seconds(30))
        assert decide(settings, ONE, a_sample(queued=1, short_for=seconds(0)), CEILING).start == 1


class TestDown:
    def test_lets_go_of_idle_tasks_past_the_window_the_longest_idle_first(self):
        tasks = [an_idle_task("ta-1", 61), an_idle_task("ta-2", 90), an_idle_task("ta-3", 10)]
        decision = decide(AutoscalerSettings(scaledown_rate_limit=9, min_containers=1), ONE, a_sample(tasks=tasks), CEILING)
        assert released(decision) == ["ta-2", "ta-1"]
        assert decision.release[0].reason == "idle for its scaledown_window of 60 s"

    def test_half_of_those_that_are_not_needed_go_at_a_time(self):
        tasks = [an_idle_task(f"ta-{i}", 61) for i in range(9)]
        assert len(released(decide(AutoscalerSettings(), ONE, a_sample(tasks=tasks), CEILING))) == 5

    def test_the_next_ones_go_a_quarter_of_the_window_later(self):
        tasks = [an_idle_task("ta-1", 61)]
        assert not decide(AutoscalerSettings(), ONE, a_sample(tasks=tasks, released=seconds(14)), CEILING).release
        assert decide(AutoscalerSettings(), ONE, a_sample(tasks=tasks, released=seconds(15)), CEILING).release

    def test_the_last_of_sixteen_goes_after_twice_the_window(self):
        """Moved along second by second, as the controller does it."""
        tasks, released_at, now = {f"ta-{i}" for i in range(16)}, -1000, 0
        left = []
        while tasks:
            sample = a_sample(tasks=[an_idle_task(name, now) for name in sorted(tasks)], released=seconds(now - released_at))
            gone = released(decide(AutoscalerSettings(), ONE, sample, CEILING))
            if gone:
                released_at = now
                tasks -= set(gone)
                left.append((now, len(tasks)))
            now += 1
        assert left == [(60, 8), (75, 4), (90, 2), (105, 1), (120, 0)]

    def test_keeps_idle_tasks_that_are_still_needed(self):
        tasks = [an_idle_task("ta-1", 61), an_idle_task("ta-2", 90)]
        decision = decide(AutoscalerSettings(min_containers=2), ONE, a_sample(tasks=tasks), CEILING)
        assert (decision.verdict, decision.release) == (Verdict.ENOUGH, ())

    def test_what_is_above_a_lowered_maximum_goes_at_once_busy_ones_last(self):
        tasks = [a_task("ta-busy", running_inputs=1), an_idle_task("ta-idle", 1), a_task("ta-new", is_ready=False)]
        sample = a_sample(queued=5, running=1, tasks=tasks)
        assert released(decide(AutoscalerSettings(max_containers=1), ONE, sample, CEILING)) == ["ta-new", "ta-idle"]

    def test_starts_successors_for_outdated_tasks_and_lets_those_go_that_have_one(self):
        old = [a_task(f"ta-old-{i}", is_current=False, running_inputs=1) for i in range(2)]
        decision = decide(AutoscalerSettings(), ONE, a_sample(running=2, tasks=[*old, a_task("ta-new")]), CEILING)
        assert (decision.start, released(decision)) == (1, ["ta-old-0"])
        assert decision.release[0].reason == "replaced by a newer version"


@st.composite
def settings(draw):
    least = draw(st.integers(0, 5))
    return AutoscalerSettings(
        min_containers=least,
        max_containers=draw(st.one_of(st.none(), st.integers(max(least, 1), 20))),
        buffer_containers=draw(st.integers(0, 4)),
        scaledown_window=seconds(draw(st.integers(2, 120))),
        scaledown_rate_limit=draw(st.one_of(st.none(), st.integers(1, 4))),
    )


@st.composite
def tasks(draw):
    found = []
    for number in range(draw(st.integers(0, 24))):
        running = draw(st.integers(0, 3))
        idle = 0 if running else draw(st.integers(0, 300))
        found.append(a_task(f"ta-{number}", running_inputs=running, is_ready=running > 0 or draw(st.booleans()), idle_for=seconds(idle)))
    return found


@st.composite
def samples(draw):
    present = draw(tasks())
    return a_sample(queued=draw(st.integers(0, 40)), running=sum(task.running_inputs for task in present), tasks=present)


concurrencies = st.integers(1, 4).map(lambda target: Concurrency(max_inputs=4, target_inputs=target))


class TestWhateverTheSample:
    @given(settings(), concurrencies, samples())
    def test_there_are_never_more_than_the_maximum(self, settings, concurrency, sample):
        decision = decide(settings, concurrency, sample, CEILING)
        left = len(sample.tasks) - len(decision.release)
        maximum = maximum_tasks(settings, CEILING)
        assert left + decision.start <= max(maximum, 0)

    @given(settings(), concurrencies, samples())
    def test_there_are_never_fewer_than_the_minimum(self, settings, concurrency, sample):
        decision = decide(settings, concurrency, sample, CEILING)
        assert len(sample.tasks) - len(decision.release) + decision.start >= settings.min_containers

    @given(settings(), concurrencies, samples())
    def test_no_task_that_works_is_let_go_unless_there_are_too_many(self, settings, concurrency, sample):
        decision = decide(settings, concurrency, sample, CEILING)
        if len(sample.tasks) <= maximum_tasks(settings, CEILING):
            idle = {task.id for task in sample.tasks if task.idle_for >= settings.scaledown_window}
            assert set(released(decision)) <= idle

    @given(settings(), concurrencies, samples())
    def test_nothing_is_started_and_let_go_at_once(self, settings, concurrency, sample):
        decision = decide(settings, concurrency, sample, CEILING)
        assert not (decision.start and decision.release)

    @given(settings(), concurrencies, samples(), st.integers(0, 20))
    def test_more_inputs_never_want_fewer_tasks(self, settings, concurrency, sample, more):
        busier = a_sample(queued=sample.queued + more, running=sample.running, tasks=sample.tasks)
        assert desired_tasks(settings, concurrency, busier, CEILING) >= desired_tasks(settings, concurrency, sample, CEILING)

    @given(settings(), concurrencies, samples())
    def test_the_same_load_comes_to_rest(self, settings, concurrency, sample):
        """What is started is counted at the next look: nothing more is, until something changes."""
        decision = decide(settings, concurrency, sample, CEILING)
        gone = set(released(decision))
        left = [task for task in sample.tasks if task.id not in gone]
        left += [a_task(f"ta-new-{number}", is_ready=False) for number in range(decision.start)]
        running = sum(task.running_inputs for task in left)
        lost = sample.running - running  # inputs of tasks above the maximum are done, or queued again
        after = decide(
            settings, concurrency, a_sample(queued=sample.queued + lost, running=running, tasks=left, released=seconds(0)), CEILING
        )
        assert (after.start, after.release) == (0, ())

    @given(settings(), concurrencies, samples())
    def test_every_decision_that_changes_something_says_why(self, settings, concurrency, sample):
        decision = decide(settings, concurrency, sample, CEILING)
        assert decision.reason
        assert all(release.reason for release in decision.release)
