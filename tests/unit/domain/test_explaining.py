"""Why something is as it is, in sentences."""

from datetime import UTC, datetime, timedelta

import pytest

from freehold.domain.autoscaling import Decision, Verdict
from freehold.domain.calls import Attempt
from freehold.domain.explaining import FunctionFacts, InputFacts, TaskFacts, explain_function, explain_input, explain_task
from freehold.domain.functions import AutoscalerSettings
from freehold.domain.tasks import ExitKind, Task, TaskExit, TaskState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LIMIT = "FREEHOLD_DEFAULT_MAX_CONTAINERS=16"


def a_function(**changes):
    return FunctionFacts(**{"id": "fu-1", "name": "shop.f", "settings": AutoscalerSettings(), "ceiling": 16, **changes})


def a_decision(wanted, verdict=Verdict.START, **changes):
    return Decision(verdict=verdict, wanted=wanted, **changes)


def a_task(state=TaskState.READY, **changes):
    return TaskFacts(**{"id": "ta-1", "state": state, "age": 1.25, "idle_for": 5.0 if state is TaskState.READY else None, **changes})


def a_record(**changes):
    fields = {"id": "ta-1", "app_id": "ap-1", "function_id": "fu-1", "definition_id": "de-1", "state": TaskState.READY, "enqueued_at": NOW}
    return Task(**{**fields, **changes})


def said(explanation):
    return " ".join(explanation.sentences)


class TestFunction:
    def test_one_that_nobody_calls(self):
        assert said(explain_function(a_function())) == "shop.f has nothing to do and no container. The next call starts one."

    def test_what_it_wants_and_what_it_has(self):
        facts = a_function(queued=2, running=1, decision=a_decision(3), tasks=[a_task(running=1), a_task(TaskState.STARTING)])
        assert said(explain_function(facts)).startswith(
            "shop.f has 2 inputs waiting and 1 running. It wants 3 containers and has 2: 1 busy, 1 being started."
        )

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"image_state": "building"}, "Its image is building: containers start when it is built."),
            ({"failed_starts": 2, "next_start_in": 3.5}, "2 starts in a row failed; the next may be in 3.5 s."),
            ({"no_place": "The machine is full: 64 of 64 tasks run."}, "The machine is full: 64 of 64 tasks run. It gets room"),
            ({"settings": AutoscalerSettings(max_containers=1)}, "It may have no more: max_containers=1."),
            ({"decision": a_decision(16)}, f"It may have no more: {LIMIT}"),
            ({"changed": {"max_containers": 3.0}}, "Changed since its deploy, until the next one: max_containers=3."),
            ({"decision": a_decision(2, Verdict.NOT_YET, reason="scaleup_window")}, "only once the need lasts: scaleup_window."),
        ],
    )
    def test_what_keeps_it_from_having_more(self, changes, words):
        assert words in said(explain_function(a_function(**{"queued": 4, "decision": a_decision(1), **changes})))

    def test_one_that_runs_no_more_says_only_that(self):
        assert said(explain_function(a_function(ended="App 'shop' has stopped.", queued=3))) == (
            "shop.f runs no more: App 'shop' has stopped."
        )

    def test_many_containers_are_not_all_named(self):
        assert "And 7 more." in said(explain_function(a_function(decision=a_decision(12), tasks=[a_task()] * 12)))


class TestInput:
    def test_one_that_waits_for_a_container_that_is_being_started(self):
        function = a_function(queued=3, decision=a_decision(3), tasks=[a_task(TaskState.STARTING)])
        text = said(explain_input(InputFacts(id="in-1", position=2, waited=0.5), function))
        assert "in-1 has waited for 0.5 s, as number 2 of 3 in the queue of shop.f." in text
        assert "1 container being started; ta-1 has been starting for 1.2 s." in text

    def test_one_that_waits_behind_busy_containers(self):
        settings = AutoscalerSettings(max_containers=1)
        function = a_function(queued=1, settings=settings, decision=a_decision(1), tasks=[a_task(running=1)])
        text = said(explain_input(InputFacts(id="in-1", position=1), function))
        assert "It may have no more: max_containers=1. Its container is busy." in text

    def test_one_that_nobody_has_looked_at_yet(self):
        assert "at the next look" in said(explain_input(InputFacts(id="in-1", position=1), a_function(queued=1)))

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"task_id": "ta-7", "running_for": 12.3}, "in-1 has been running on ta-7 for 12 s."),
            ({"next_try_in": 4.0}, "in-1 failed and is tried again in 4.0 s."),
            ({"end": "succeeded"}, "in-1 has its result: it succeeded."),
        ],
    )
    def test_where_it_is(self, changes, words):
        assert words in said(explain_input(InputFacts(id="in-1", **changes), a_function()))

    def test_tries_are_told_with_their_outcome(self):
        def a_try(number, outcome, ended=NOW + timedelta(seconds=2)):
            return Attempt(
                input_id="in-1", number=number, call_id="fc-1", task_id=f"ta-{number}", started_at=NOW, ended_at=ended, outcome=outcome
            )

        tries = (a_try(0, "ValueError"), a_try(1, "", None))
        text = said(explain_input(InputFacts(id="in-1", task_id="ta-1", attempts=tries), a_function()))
        assert "It has been tried 2 times. Try 1 ran on ta-0 for 2.0 s: ValueError. Try 2 ran on ta-1 and runs still." in text


class TestTask:
    def told(self, now, function=None, **changes):
        return said(explain_task(a_record(**changes), now, function or a_function(), started_for="1 wanted", let_go_for=""))

    def test_why_it_was_started(self):
        assert self.told(a_task(running=1)) == "ta-1 was started for this reason: 1 wanted. It is kept because it runs 1 input."

    def test_why_an_idle_one_is_kept(self):
        assert "idle for 5.0 s and leaves when that is 60 s (scaledown_window)" in self.told(a_task())
        kept = a_function(settings=AutoscalerSettings(min_containers=1), decision=a_decision(1, Verdict.ENOUGH), tasks=[a_task()])
        assert "kept because shop.f wants 1 container (min_containers=1)" in self.told(a_task(), kept)

    def test_why_one_leaves(self):
        leaving = explain_task(a_record(), a_task(TaskState.DRAINING), a_function(), started_for="", let_go_for="its app has stopped")
        assert "It is on its way out: its app has stopped." in said(leaving)

    def test_why_one_ended(self):
        end = TaskExit(kind=ExitKind.CRASHED, code=3, detail="Traceback…")
        text = self.told(None, state=TaskState.ENDED, exit=end, ended_at=NOW + timedelta(seconds=9))
        assert "It crashed with code 3. Its last words: Traceback…" in text

    def test_its_life_in_numbers(self):
        found = explain_task(a_record(ready_at=NOW + timedelta(seconds=0.5)), a_task(), None, started_for="", let_go_for="")
        assert found.numbers["ready_after_s"] == 0.5
