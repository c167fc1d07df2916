"""Schedules: deployed functions that are called by themselves, and what `freehold schedules` shows and does of them."""

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import modal
import pytest

from conformance.deployment import Deployment, deploy, deployed, versioned
from conformance.engine import Engine
from conformance.waiting import eventually

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
_DUE = "due at "

TOO_FAST = """
import modal
app = modal.App("too-fast")

@app.function(schedule=modal.Period(seconds=0.2))
def tick():
    pass
"""


@pytest.fixture(scope="module")
def app(engine: Engine) -> Iterator[Deployment]:
    with deployed(engine, "schedules.py") as deployment:
        yield deployment


def rows(engine: Engine) -> list[dict[str, Any]]:
    return list(json.loads(engine.freehold("schedules", "--json").succeeded().output))


def listed(engine: Engine, app: str = "schedules") -> dict[str, Any]:
    """Function → what `freehold schedules --json` says of it."""
    return {row["function"]: row for row in rows(engine) if row["app"] == app}


def next_run(row: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(row["next_at"])


def fired(engine: Engine, function_id: str) -> list[tuple[datetime, str]]:
    """Due time and call of each run, from the function's story."""
    events = [event for event in engine.story(function_id)["events"] if event["cause"].startswith(_DUE)]
    return [(datetime.fromisoformat(event["cause"].removeprefix(_DUE)), event["call_id"]) for event in events]


def assert_each_due_time_once(engine: Engine, app: str) -> None:
    """The times of a beat of one second: each has a run of its own or is counted as missed, none has two."""
    row = listed(engine, app)["tick"]
    times = [due_at for due_at, _ in fired(engine, row["function_id"])]
    until = datetime.fromisoformat(row["last_at"])
    times = [due_at for due_at in times if due_at <= until]
    assert all(earlier < later for earlier, later in pairwise(times)), times
    steps = round((times[-1] - times[0]) / SECOND)
    assert len(times) + row["missed"] == steps + 1


def another_run(engine: Engine, app: str = "schedules", *, within: float = 60) -> str:
    """Waits for a run that had not begun when this was called; its call."""
    now = datetime.now(UTC)

    def look() -> str | None:
        row = listed(engine, app)["tick"]
        return row["last_call_id"] if row["last_at"] and datetime.fromisoformat(row["last_at"]) > now else None

    call_id = eventually(look, within=within, what="A run of its schedule")
    assert call_id
    return call_id


class TestRuns:
    def test_a_period_calls_its_function_and_the_result_can_be_read(self, engine: Engine, app: Deployment) -> None:
        call_id = another_run(engine)
        assert abs(modal.FunctionCall.from_id(call_id).get(timeout=60) - time.time()) < 60
        eventually(lambda: "tick of the first edition" in app.logs(), within=60, what="The log of a run")
        eventually(lambda: listed(engine)["tick"]["last_state"] == "success", within=60, what="A run that is over")

    def test_each_due_time_is_run_once(self, engine: Engine, app: Deployment) -> None:
        for _ in range(3):
            another_run(engine)
        assert_each_due_time_once(engine, app.name)

    def test_a_killed_engine_runs_no_time_twice_and_loses_no_run(self, engine: Engine, app: Deployment) -> None:
        another_run(engine)
        engine.kill()
        engine.start()
        another_run(engine)
        assert_each_due_time_once(engine, app.name)
        runs = fired(engine, listed(engine)["tick"]["function_id"])
        for _, call_id in runs[-5:]:
            assert modal.FunctionCall.from_id(call_id).get(timeout=60) > 0

    def test_those_of_an_app_that_is_served_last_as_long_as_it(self, engine: Engine, app: Deployment) -> None:
        with engine.start_modal("serve", "schedules.py") as serving:
            serving.line("tick of the first edition")
            assert len({row["app_id"] for row in rows(engine)}) == 2
            serving.interrupt(2)
            serving.wait()
        assert {row["app_id"] for row in rows(engine)} == {app.app_id}


class TestDeploys:
    def test_a_redeploy_runs_the_new_code_in_the_old_beat(self, engine: Engine, tmp_path: Path) -> None:
        with deployed(engine, "schedules.py", name="beats") as beats:
            before = listed(engine, "beats")
            another_run(engine, "beats")
            deploy(engine, versioned("schedules.py", tmp_path, EDITION="second"), name="beats")
            after = listed(engine, "beats")
            assert next_run(after["failing"]) == next_run(before["failing"])
            assert (next_run(after["tick"]) - next_run(before["tick"])) % SECOND == timedelta(0)
            eventually(lambda: "tick of the second edition" in beats.logs(), within=60, what="A run of the new code")
            assert_each_due_time_once(engine, "beats")

            deploy(engine, versioned("schedules.py", tmp_path, BEAT=None), name="beats")
            assert set(listed(engine, "beats")) == set(before) - {"tick"}
        assert listed(engine, "beats") == {}

    def test_a_period_that_is_too_short_is_refused(self, engine: Engine, tmp_path: Path) -> None:
        script = tmp_path / "too_fast.py"
        script.write_text(TOO_FAST)
        finished = engine.modal("deploy", script)
        assert finished.code != 0
        assert "the shortest Period is one second" in finished.output


class TestCommands:
    def test_rules_are_listed_with_their_zones_and_next_times(self, engine: Engine, app: Deployment) -> None:
        before, shown = datetime.now(UTC), listed(engine)
        assert {name: (row["rule"], row["timezone"]) for name, row in shown.items()} == {
            "tick": ("every 1 second", "UTC"),
            "minutely": ("* * * * *", "Asia/Kathmandu"),
            "weekdays": ("0 9 * * 1-5", "America/New_York"),
            "failing": ("every 1 day 2 hours", "UTC"),
        }
        assert before - MINUTE < next_run(shown["minutely"]) <= datetime.now(UTC) + MINUTE
        assert next_run(shown["minutely"]).second == 0
        at_work = next_run(shown["weekdays"]).astimezone(ZoneInfo("America/New_York"))
        assert (at_work.hour, at_work.minute) == (9, 0)
        assert at_work.weekday() < 5
        table = engine.freehold("schedules").succeeded().output
        assert re.search(r"schedules\.weekdays +0 9 \* \* 1-5 +\d{4}-\d\d-\d\d \d\d:\d\d +none yet +0", table)
        assert re.search(r"America/New_York +\(in .*\)", table)

    def test_modals_own_commands_show_the_rule(self, engine: Engine, app: Deployment) -> None:
        assert "0 9 * * 1-5 (America/New_York)" in engine.modal("app", "info", app.name).succeeded().output

    def test_a_run_by_hand_prints_its_call(self, engine: Engine, app: Deployment) -> None:
        due_before = next_run(listed(engine)["weekdays"])
        call_id = engine.freehold("schedules", "run", "schedules.weekdays").succeeded().output.strip()
        assert modal.FunctionCall.from_id(call_id).get(timeout=120) == "good morning"
        row = eventually(
            lambda: (row := listed(engine)["weekdays"])["last_state"] == "success" and row, within=60, what="A run that is over"
        )
        assert (row["last_call_id"], next_run(row)) == (call_id, due_before)

    def test_a_run_that_fails_is_shown_as_such(self, engine: Engine, app: Deployment) -> None:
        call_id = engine.freehold("schedules", "run", "schedules.failing").succeeded().output.strip()
        with pytest.raises(ValueError, match="the larder is empty"):
            modal.FunctionCall.from_id(call_id).get(timeout=120)
        eventually(lambda: listed(engine)["failing"]["last_state"] == "failure", within=60, what="A run that has failed")

    def test_a_pause_outlives_a_restart_and_resuming_ends_it(self, engine: Engine, app: Deployment) -> None:
        another_run(engine)
        engine.freehold("schedules", "pause", "schedules.tick").succeeded()
        function_id = listed(engine)["tick"]["function_id"]
        runs = fired(engine, function_id)
        engine.kill()
        engine.start()
        assert listed(engine)["tick"]["is_paused"]
        assert "paused" in engine.freehold("schedules").succeeded().output
        assert fired(engine, function_id) == runs

        engine.freehold("schedules", "resume", "schedules.tick").succeeded()
        another_run(engine)
        assert not listed(engine)["tick"]["is_paused"]

    def test_a_name_without_a_schedule_is_answered_with_those_that_have_one(self, engine: Engine, app: Deployment) -> None:
        finished = engine.freehold("schedules", "run", "schedules.plain")
        assert finished.code == 1
        assert "No deployed function 'schedules.plain' has a schedule" in finished.output
        assert "schedules.tick" in finished.output
