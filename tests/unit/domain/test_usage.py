"""How a container's time is divided among what runs in it, and what its counters come to."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.domain.usage import GIB, NOTHING, Meter, Reading, Shares, Usage, between, divided, hour_of, point

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def reading(seconds=0.0, cpu=0.0, gib=0.0):
    return Reading(at=NOW + timedelta(seconds=seconds), cpu_us=round(cpu * 1e6), memory_bytes=round(gib * GIB))


class TestMeter:
    def test_one_alone_has_all_its_time(self):
        meter = Meter()
        since = meter.begin(10.0)
        meter.end(13.0, since, "fc-1")

        assert meter.take() == Shares(of={"fc-1": 3.0}, busy=3.0, finished=1)

    def test_the_time_of_two_is_divided_while_both_run(self):
        meter = Meter()
        first = meter.begin(0.0)
        second = meter.begin(2.0)
        meter.end(6.0, first, "fc-1")
        meter.end(7.0, second, "fc-2")

        assert meter.take().of == {"fc-1": 4.0, "fc-2": 3.0}

    def test_web_requests_take_their_part_and_belong_to_no_call(self):
        meter = Meter()
        meter.begin(0.0)
        since = meter.begin(0.0)
        meter.end(4.0, since, "fc-1", is_kept=True)
        meter.end(4.0, 0.0)

        assert meter.take() == Shares(of={"fc-1": 2.0}, busy=4.0, finished=2, kept={"fc-1"})

    def test_what_runs_on_is_charged_in_pieces(self):
        meter = Meter()
        since = meter.begin(0.0)
        looked = meter.look(5.0)
        meter.charge("fc-1", since)
        first = meter.take()
        meter.end(7.0, looked, "fc-1")

        assert (first.of, meter.take().of) == ({"fc-1": 5.0}, {"fc-1": 2.0})

    def test_inputs_of_one_call_are_summed(self):
        meter = Meter()
        for _ in range(3):
            meter.end(1.0, meter.begin(0.0), "fc-1")

        assert meter.take().finished == 3

    @given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 50)), min_size=1, max_size=20))
    def test_shares_never_come_to_more_than_the_time_in_which_something_ran(self, runs):
        meter, since = Meter(), {}
        moments = sorted(
            [(begin, 1, number) for number, (begin, _) in enumerate(runs)]
            + [(begin + length, 2, number) for number, (begin, length) in enumerate(runs)]
        )
        for at, what, number in moments:
            if what == 1:
                since[number] = meter.begin(at)
            else:
                meter.end(at, since[number], f"fc-{number}")
        shares = meter.take()

        assert sum(shares.of.values()) == pytest.approx(shares.busy)
        assert shares.busy <= moments[-1][0] - moments[0][0] + 1e-9


class TestBetween:
    def test_cpu_is_counted_and_memory_and_gpus_are_held(self):
        used = between(reading(cpu=1.0, gib=1.0), reading(10, cpu=3.5, gib=3.0), ["T4", "T4", "L4"])

        assert used == Usage(cpu_core_seconds=2.5, memory_gib_seconds=20.0, gpu_seconds={"T4": 20.0, "L4": 10.0})

    def test_where_memory_was_not_known_before_it_counts_as_it_is(self):
        assert between(reading(), reading(4, gib=2.0), []).memory_gib_seconds == 8.0

    def test_a_counter_that_begins_anew_and_a_clock_that_goes_back_take_nothing_away(self):
        assert between(reading(cpu=5.0), reading(1, cpu=2.0), []).cpu_core_seconds == 2.0
        assert between(reading(gib=1.0), reading(-100, gib=1.0), ["T4"]).memory_gib_seconds == 0.0

    def test_a_machine_that_slept_used_nothing_meanwhile(self):
        assert between(reading(gib=1.0), reading(8 * 3600, gib=1.0), []).memory_gib_seconds == 600.0


class TestDivided:
    USED = Usage(cpu_core_seconds=4.0, memory_gib_seconds=10.0, gpu_seconds={"T4": 10.0})

    def test_cpu_goes_to_those_that_ran_and_the_rest_to_whom_it_belonged_to_by_the_second(self):
        shares = Shares(of={"fc-1": 1.5, "fc-2": 0.5}, busy=2.0)

        parts = divided(self.USED, shares, seconds=10.0, starting=0.0)

        assert parts["fc-1"] == Usage(cpu_core_seconds=3.0, memory_gib_seconds=1.5, gpu_seconds={"T4": 1.5})
        assert parts["fc-2"].cpu_core_seconds == 1.0

    def test_the_start_has_its_part_of_the_cpu(self):
        parts = divided(self.USED, Shares(of={"fc-1": 1.0}, busy=1.0), seconds=10.0, starting=3.0)

        assert parts["fc-1"].cpu_core_seconds == 1.0

    def test_what_ran_for_others_is_not_charged_to_a_call(self):
        parts = divided(self.USED, Shares(of={"fc-1": 1.0}, busy=4.0), seconds=10.0, starting=0.0)

        assert parts["fc-1"].cpu_core_seconds == 1.0

    def test_nothing_ran(self):
        assert divided(self.USED, Shares(of={}, busy=0.0), seconds=10.0, starting=0.0) == {}

    @given(st.dictionaries(st.text(min_size=1), st.floats(0, 100), max_size=5), st.floats(0, 100), st.floats(0, 20))
    def test_calls_together_have_never_more_than_there_was(self, of, seconds, starting):
        parts = divided(self.USED, Shares(of=of, busy=sum(of.values())), seconds=seconds, starting=starting)
        total = sum(parts.values(), NOTHING)

        assert total.cpu_core_seconds <= 4.0 + 1e-9
        assert total.memory_gib_seconds <= 10.0 + 1e-9


def test_a_point_of_the_curve_is_the_average_since_the_one_before():
    drawn = point(reading(cpu=1.0), reading(5, cpu=3.5, gib=1.0), 2)

    assert (drawn.cpu_cores, drawn.memory_bytes, drawn.gpus) == (0.5, GIB, 2)


def test_usage_is_kept_as_amounts_without_zeros():
    usage = Usage(cpu_core_seconds=1.5, gpu_seconds={"NVIDIA L4": 2.0}, inputs=3)

    assert usage.amounts() == {"cpu": 1.5, "gpu:NVIDIA L4": 2.0, "inputs": 3.0}
    assert Usage.of_amounts(usage.amounts()) == usage


def test_hours_begin_at_their_first_minute():
    assert hour_of(NOW) == datetime(2026, 1, 2, 3, tzinfo=UTC)
