"""When schedules are due: across changes of the clock, at ends of months, and after the engine was down."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from freehold.domain.errors import InvalidRequest
from freehold.domain.schedules import Cron, Period, begin, check, follow, next_due, pause, resume, take_turn

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def due_times(rule, after, count, anchor=NOW):
    """The next due times, in UTC."""
    times = [after]
    for _ in range(count):
        times.append(next_due(rule, times[-1], anchor))
    return times[1:]


def local(rule, after, count):
    """The next due times as a clock on the wall of the rule's zone shows them, with the offset that it has then."""
    zone = ZoneInfo(rule.timezone)
    moment = datetime.fromisoformat(after).replace(tzinfo=zone)
    return [due.astimezone(zone).isoformat(timespec="minutes") for due in due_times(rule, moment.astimezone(UTC), count)]


class TestWords:
    @pytest.mark.parametrize("text", ["* * * * *", "*/5 * * * *", "0 9 * * 1-5", "30 2 1,15 * *", "0 0 L * *", "0 0 29 2 *"])
    def test_five_fields_are_taken(self, text):
        check(Cron(text=text))

    @pytest.mark.parametrize(
        "text",
        ["", "hourly", "* * * *", "60 * * * *", "* * * * * *", "* * * * * * *", "*/0 * * * *", "0 0 31 2 *", "0 0 1 2 *\0", "1" * 10_000],
    )
    def test_what_is_no_schedule_is_refused_with_an_example(self, text):
        with pytest.raises(InvalidRequest, match="five fields"):
            check(Cron(text=text))

    def test_a_zone_must_be_known(self):
        check(Cron(text="* * * * *", timezone="Europe/Berlin"))
        for zone in ("Mars/Olympus", "../../etc/passwd", "Europe/Berlin\0", "/etc/localtime"):
            with pytest.raises(InvalidRequest, match="Europe/Berlin"):
                check(Cron(text="* * * * *", timezone=zone))

    @pytest.mark.parametrize("period", [{"seconds": 1}, {"seconds": 3.14159}, {"months": 1}, {"hours": 1, "seconds": 0.5}, {"years": 100}])
    def test_a_period_of_a_second_or_more_is_taken(self, period):
        check(Period(**period))

    @pytest.mark.parametrize(
        ("period", "words"),
        [
            ({}, "too short"),
            ({"seconds": 0.999}, r"Period\(seconds=0\.999\) is too short.*one second"),
            ({"seconds": -5}, "at least 0"),
            ({"days": 1, "hours": -1}, r"Period\(days=1, hours=-1\).*at least 0"),
            ({"seconds": float("nan")}, "at least 0"),
            ({"seconds": float("inf")}, "at least 0"),
            ({"years": 2**31 - 1}, "never due"),
            ({"weeks": 2**31 - 1}, "never due"),
            ({"seconds": 3e38}, "never due"),
        ],
    )
    def test_a_period_that_makes_no_sense_is_refused(self, period, words):
        with pytest.raises(InvalidRequest, match=words):
            check(Period(**period))

    def test_rules_are_shown_as_they_were_written(self):
        assert str(Cron(text="0 9 * * 1-5", timezone="Europe/Berlin")) == "0 9 * * 1-5"
        assert str(Period(days=1, hours=2, seconds=1.5)) == "every 1 day 2 hours 1.5 seconds"


class TestCron:
    @pytest.mark.parametrize(
        ("text", "zone", "after", "expected"),
        [
            # Spring, 2026-03-29: 02:00 becomes 03:00. A fixed time that does not exist runs right after the gap.
            ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
            ("0 3 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T03:00+02:00"]),
            # Two fixed times in the gap are one run.
            ("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]),
            # Stars follow real time: every half hour stays every half hour.
            (
                "*/30 * * * *",
                "Europe/Berlin",
                "2026-03-29T01:15",
                ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00"],
            ),
            # Autumn, 2026-10-25: 03:00 becomes 02:00. A fixed time that comes twice runs once, the first time.
            ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
            (
                "30 * * * *",
                "Europe/Berlin",
                "2026-10-25T01:45",
                ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00", "2026-10-25T03:30+01:00"],
            ),
            # The other side of the Atlantic changes on other days, and at 02:00 local time.
            ("0 6 * * *", "America/New_York", "2026-03-07T12:00", ["2026-03-08T06:00-04:00", "2026-03-09T06:00-04:00"]),
            ("30 1 * * *", "America/New_York", "2026-10-31T12:00", ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]),
            # A change of half an hour, and an offset that is not of whole hours.
            ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"]),
            ("0 9 * * *", "Asia/Kathmandu", "2026-01-01T12:00", ["2026-01-02T09:00+05:45", "2026-01-03T09:00+05:45"]),
            # Where the change is at midnight, the day begins at one.
            ("0 0 * * *", "America/Santiago", "2026-09-05T12:00", ["2026-09-06T01:00-03:00", "2026-09-07T00:00-03:00"]),
            # A day that was left out altogether: its run is made up at once, as after any gap.
            ("0 12 * * *", "Pacific/Apia", "2011-12-29T13:00", ["2011-12-31T00:00+14:00", "2011-12-31T12:00+14:00"]),
            # A leap day, and a weekday within a month.
            ("0 0 29 2 *", "UTC", "2026-01-01T00:00", ["2028-02-29T00:00+00:00", "2032-02-29T00:00+00:00"]),
            ("0 9 * * MON#1", "Europe/Berlin", "2026-01-06T00:00", ["2026-02-02T09:00+01:00", "2026-03-02T09:00+01:00"]),
        ],
    )
    def test_the_wall_clock_of_the_zone_is_meant(self, text, zone, after, expected):
        assert local(Cron(text=text, timezone=zone), after, len(expected)) == expected

    def test_in_the_second_round_of_the_doubled_hour_a_time_of_the_first_is_past(self):
        rule = Cron(text="30 2 * * *", timezone="Europe/Berlin")
        second_round = utc("2026-10-25T01:10")  # 02:10 on the wall, for the second time
        assert next_due(rule, second_round, NOW) == utc("2026-10-26T01:30")

    @given(
        text=st.sampled_from(["* * * * *", "*/7 * * * *", "13 * * * *", "*/30 */2 * * *", "5 4 * * *", "0,30 2 * * *", "45 23 * * 0"]),
        zone=st.sampled_from(
            ["", "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"]
        ),
        after=st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 — the bounds of UTC
    )
    @settings(max_examples=300)
    def test_times_go_forward_and_none_is_left_out(self, text, zone, after):
        """Whatever moment of the gap before a due time one asks at, that time is the answer."""
        rule = Cron(text=text, timezone=zone)
        due = next_due(rule, after, NOW)
        assert due > after
        for part in (0.001, 0.5, 0.999):
            assert next_due(rule, after + part * (due - after - timedelta(seconds=1)), NOW) == due

    @given(
        rule=st.sampled_from([("*/7 * * * *", 7, 1), ("*/30 */2 * * *", 30, 2), ("* */3 * * *", 1, 3), ("0 * * * *", 60, 1)]),
        zone=st.sampled_from(["Europe/Berlin", "America/New_York", "America/St_Johns", "Africa/Casablanca"]),
        after=st.one_of(
            st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 — the bounds of UTC
            st.sampled_from(["2026-03-29T00:40", "2026-10-25T00:40", "2026-03-08T06:40", "2026-11-01T05:10"]).map(utc),
        ),
    )
    @settings(max_examples=200)
    def test_rules_with_stars_are_due_at_every_minute_of_real_time_that_reads_so(self, rule, zone, after):
        """Held against the plainest way to find it: looking at the wall clock once a minute."""
        text, minutes, hours = rule
        moment = after.replace(second=0, microsecond=0) + MINUTE
        while (wall := moment.astimezone(ZoneInfo(zone))).minute % minutes or wall.hour % hours:
            moment += MINUTE
        assert next_due(Cron(text=text, timezone=zone), after, NOW) == moment

    @given(
        zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "America/St_Johns"]),
        after=st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 — the bounds of UTC
        minute=st.integers(0, 59),
    )
    @settings(max_examples=100)
    def test_an_hourly_rule_is_hourly_all_through_the_year(self, zone, after, minute):
        times = due_times(Cron(text=f"{minute} * * * *", timezone=zone), after, 3)
        assert [later - earlier for earlier, later in pairwise(times)] == [HOUR, HOUR]


class TestPeriod:
    @pytest.mark.parametrize(
        ("period", "anchor", "expected"),
        [
            ({"months": 1}, "2026-01-31T10:00", ["2026-02-28T10:00", "2026-03-31T10:00", "2026-04-30T10:00", "2026-05-31T10:00"]),
            ({"months": 1}, "2024-01-30T10:00", ["2024-02-29T10:00", "2024-03-30T10:00"]),
            ({"years": 1}, "2024-02-29T00:00", ["2025-02-28T00:00", "2026-02-28T00:00", "2027-02-28T00:00", "2028-02-29T00:00"]),
            ({"months": 5, "days": 1}, "2026-09-30T00:00", ["2027-03-01T00:00", "2027-08-01T00:00"]),
            ({"weeks": 1}, "2026-12-28T00:00", ["2027-01-04T00:00", "2027-01-11T00:00"]),
            ({"days": 1}, "2026-03-28T02:30", ["2026-03-29T02:30", "2026-03-30T02:30"]),
            ({"hours": 1, "minutes": 30}, "2026-01-01T23:00", ["2026-01-02T00:30", "2026-01-02T02:00"]),
            ({"seconds": 1.5}, "2026-01-01T00:00", ["2026-01-01T00:00:01.5", "2026-01-01T00:00:03"]),
        ],
    )
    def test_each_time_is_counted_from_the_anchor(self, period, anchor, expected):
        assert due_times(Period(**period), utc(anchor), len(expected), utc(anchor)) == [utc(text) for text in expected]

    @given(
        period=st.builds(
            Period,
            years=st.integers(0, 3),
            months=st.integers(0, 20),
            weeks=st.integers(0, 3),
            days=st.integers(0, 40),
            hours=st.integers(0, 30),
            minutes=st.integers(0, 90),
            seconds=st.floats(0, 1e6, width=32),
        ),
        anchor=st.datetimes(datetime(2020, 1, 1), datetime(2030, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 — the bounds of UTC
        later=st.timedeltas(timedelta(0), timedelta(days=3000)),
    )
    @example(period=Period(months=1), anchor=utc("2026-01-31T00:00"), later=timedelta(days=45))
    @settings(max_examples=300)
    def test_asking_at_any_moment_gives_the_same_times(self, period, anchor, later):
        """The n-th time does not depend on when, or how often, one asks: the beat cannot wander."""
        assume(period.whole_months or period.rest >= timedelta(seconds=1))
        due = next_due(period, anchor + later, anchor)
        following = next_due(period, due, anchor)
        assert anchor + later < due < following
        assert next_due(period, due - timedelta(microseconds=1), anchor) == due
        assert next_due(period, due + (following - due) / 2, anchor) == following

    def test_the_first_time_is_one_period_after_the_anchor_even_if_the_clock_was_set_back(self):
        assert next_due(Period(hours=1), NOW - timedelta(days=9), NOW) == NOW + HOUR


class TestTurns:
    """What is done about a schedule at a moment."""

    GRACE = HOUR

    def a_schedule(self, rule=None, **changes):
        return begin("fu-1", "ap-1", rule or Period(minutes=10), NOW, **changes)

    def turn(self, schedule, seconds, grace=GRACE):
        return take_turn(schedule, NOW + timedelta(seconds=seconds), grace)

    def test_before_its_time_nothing_is_due(self):
        assert self.turn(self.a_schedule(), 599.9) is None

    def test_at_its_time_it_runs_and_the_next_time_is_set(self):
        turn = self.turn(self.a_schedule(), 600.02)
        assert (turn.due_at, turn.missed) == (NOW + 10 * MINUTE, 0)
        assert (turn.after.next_at, turn.after.missed) == (NOW + 20 * MINUTE, 0)

    def test_of_several_times_that_passed_the_last_one_runs_and_the_others_are_missed(self):
        turn = self.turn(self.a_schedule(), 3500)
        assert (turn.due_at, turn.missed) == (NOW + 50 * MINUTE, 4)
        assert (turn.after.next_at, turn.after.missed) == (NOW + 60 * MINUTE, 4)

    def test_what_is_longer_ago_than_the_grace_does_not_run(self):
        turn = self.turn(self.a_schedule(Period(days=1)), 86400 + 3601)
        assert (turn.due_at, turn.missed) == (None, 1)
        assert turn.after.next_at == NOW + timedelta(days=2)

    def test_exactly_the_grace_is_not_too_late(self):
        assert self.turn(self.a_schedule(Period(days=1)), 86400 + 3600).due_at == NOW + timedelta(days=1)

    def test_a_clock_that_goes_back_brings_no_time_a_second_time(self):
        fired = self.turn(self.a_schedule(), 600).after
        assert self.turn(fired, 599) is None
        assert self.turn(fired, 600) is None
        assert self.turn(fired, 1199) is None
        assert self.turn(fired, 1200).due_at == NOW + 20 * MINUTE

    def test_a_clock_that_jumps_a_year_ahead_costs_one_turn_and_little_time(self):
        turn = self.turn(self.a_schedule(Cron(text="* * * * *", timezone="Europe/Berlin")), 365 * 86400)
        assert turn.due_at == utc("2027-01-02T03:04")
        assert turn.missed == 1000  # as many as are counted
        assert turn.after.next_at == utc("2027-01-02T03:05")

    @given(
        rule=st.sampled_from([Period(seconds=700.5), Period(months=1), Cron(text="*/7 9 * * *", timezone="Europe/Berlin")]),
        steps=st.lists(st.floats(0.001, 2e5), min_size=1, max_size=8),
    )
    @settings(max_examples=60)
    def test_each_due_time_is_run_or_missed_exactly_once(self, rule, steps):
        """However irregularly one looks: runs and misses together are the due times that passed."""
        schedule, now, runs, missed = self.a_schedule(rule), NOW, [], 0
        for step in steps:
            now += timedelta(seconds=step)
            if (turn := take_turn(schedule, now, HOUR)) is not None:
                schedule, missed = turn.after, missed + turn.missed
                runs += [turn.due_at] if turn.due_at else []
        passed = due_times_until(rule, NOW, now)
        assert runs == sorted(set(runs))
        assert set(runs) <= set(passed)
        assert len(runs) + missed == len(passed)
        assert schedule.missed == missed


class TestRedeploys:
    RULE = Period(hours=1)

    def test_the_same_rule_keeps_its_beat(self):
        schedule = begin("fu-1", "ap-1", self.RULE, NOW)
        assert follow(schedule, Period(hours=1), NOW + 30 * MINUTE) is schedule

    def test_another_rule_starts_anew(self):
        schedule = take_turn(begin("fu-1", "ap-1", self.RULE, NOW), NOW + 10 * HOUR, HOUR).after
        changed = follow(schedule, Period(hours=2), NOW + 10 * HOUR)
        assert (changed.anchor, changed.next_at, changed.missed) == (NOW + 10 * HOUR, NOW + 12 * HOUR, 0)

    def test_what_is_paused_stays_so(self):
        paused = pause(begin("fu-1", "ap-1", self.RULE, NOW))
        assert follow(paused, self.RULE, NOW) == paused
        changed = follow(paused, Cron(text="* * * * *"), NOW)
        assert changed.is_paused
        assert changed.next_at is None

    def test_what_passes_while_it_is_paused_is_not_missed_and_the_beat_is_kept(self):
        paused = pause(begin("fu-1", "ap-1", self.RULE, NOW))
        assert take_turn(paused, NOW + 5 * HOUR, HOUR) is None
        resumed = resume(paused, NOW + 5.5 * HOUR)
        assert (resumed.next_at, resumed.missed) == (NOW + 6 * HOUR, 0)


def due_times_until(rule, after, now, anchor=NOW):
    times = []
    while (due := next_due(rule, after, anchor)) <= now:
        times.append(due)
        after = due
    return times
