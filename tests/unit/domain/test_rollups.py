"""Figures over time: how they add up, what percentiles say, and which buckets a question is answered from."""

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from freehold.domain import rollups
from freehold.domain.figures import BOUNDS, NOTHING, Durations, Figures, Histogram, together
from freehold.domain.ids import AppId, FunctionId
from freehold.domain.rollups import Bucket, floor, fold, line, source_for, width_for

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
KEPT = rollups.resolutions(timedelta(days=7))


def a_bucket(seconds=0, width=10, function="fu-1", **figures):
    start = NOON + timedelta(seconds=seconds)
    return Bucket(function_id=FunctionId(function), app_id=AppId("ap-1"), start=start, width=width, figures=Figures(**figures))


class TestHistogram:
    def test_bounds_are_spaced_evenly_on_a_logarithmic_scale(self):
        steps = [high / low for low, high in pairwise(BOUNDS)]
        assert max(steps) <= 2.01
        assert (BOUNDS[0], BOUNDS[-1]) == (0.0005, 1000.0)

    @pytest.mark.parametrize("percent", [50, 90, 95, 99])
    def test_a_percentile_is_as_exact_as_the_bounds(self, percent):
        values = sorted(random.Random(1).lognormvariate(-3, 1) for _ in range(20_000))
        exact = values[len(values) * percent // 100]
        assert Histogram.of(values).percentile(percent) == pytest.approx(exact, rel=0.2)

    def test_of_nothing_there_is_no_percentile_and_no_mean(self):
        assert (Histogram().percentile(99), Histogram().mean, Histogram().count) == (None, None, 0)

    def test_one_value_is_found_in_its_own_bucket(self):
        assert 0.01 <= Histogram.of([0.015]).percentile(50) <= 0.02

    def test_what_is_beyond_the_last_bound_is_told_as_that(self):
        assert Histogram.of([5000.0]).percentile(99) == 1000.0

    def test_two_add_up_to_what_one_would_have_seen(self):
        first, second = [0.001, 0.2, 3.0], [0.0001, 70.0]
        whole = Histogram.of(first + second)
        added = Histogram.of(first) + Histogram.of(second)
        assert added.counts == whole.counts
        assert added.total == pytest.approx(whole.total)
        assert Histogram() + whole == whole == whole + Histogram()

    def test_cumulative_counts_never_fall_and_leave_out_what_is_beyond(self):
        sums = Histogram.of([0.0001, 0.01, 0.01, 5000.0]).cumulative()
        assert sums == sorted(sums)
        assert (sums[0], sums[-1], len(sums)) == (1, 3, len(BOUNDS))

    def test_one_that_grows_gives_the_same(self):
        durations = Durations()
        durations.add(0.003)
        assert durations.histogram() == Histogram.of([0.003])


class TestFigures:
    def test_over_time_counts_add_up_and_the_largest_and_the_last_stay(self):
        first = Figures(succeeded=2, samples=5, containers=10, most_containers=3, last_containers=3, most_queued=1, queued=2)
        later = Figures(succeeded=1, failed=1, samples=5, containers=5, most_containers=2, last_containers=1)
        joined = first.then(later)
        assert (joined.calls, joined.errors, joined.most_containers, joined.last_containers) == (4, 1, 3, 1)
        assert (joined.mean_containers, joined.mean_queued, joined.most_queued) == (1.5, 0.2, 1)

    def test_a_span_without_a_look_leaves_what_was_seen_last(self):
        assert Figures(samples=1, last_containers=2).then(Figures(succeeded=1)).last_containers == 2

    def test_over_functions_the_largest_ones_add_up(self):
        one = Figures(samples=5, containers=5, most_containers=1, last_containers=1, largest_batch=4, statuses=(0, 0, 7, 0, 0, 0))
        joined = one.beside(one)
        assert (joined.samples, joined.mean_containers, joined.most_containers, joined.last_containers) == (5, 2.0, 2, 2)
        assert (joined.largest_batch, joined.requests) == (4, 14)

    def test_what_one_container_used_at_most_is_no_more_for_having_neighbours(self):
        one = Figures(measured=10, cpu=5.0, memory=20.0, gpu=10.0, most_cpu=1.5, most_memory=3.0)
        other = Figures(measured=30, cpu=25.0, memory=20.0, most_cpu=1.0)
        for joined in (one.beside(other), one.then(other)):
            assert (joined.mean_cpu, joined.mean_memory, joined.mean_gpus) == (0.75, 1.0, 0.25)
            assert (joined.most_cpu, joined.most_memory) == (1.5, 3.0)
        assert (NOTHING.mean_cpu, NOTHING.mean_memory, NOTHING.mean_gpus) == (None, None, None)

    def test_nothing_changes_nothing(self):
        one = Figures(succeeded=3, latency=Histogram.of([0.1]))
        assert one.then(NOTHING) == one == one.beside(NOTHING) == together([NOTHING, one])

    def test_all_containers_are_those_that_ended_and_those_that_are_left(self):
        assert Figures(ended=3, last_containers=2).all_containers == 5


class TestFold:
    def test_narrow_buckets_become_a_wide_one(self):
        wide = fold([a_bucket(seconds, succeeded=1) for seconds in (50, 0, 10, 60)], 60)
        assert [(bucket.start, bucket.width, bucket.figures.calls) for bucket in wide] == [
            (NOON, 60, 3),
            (NOON + timedelta(minutes=1), 60, 1),
        ]

    def test_the_last_of_a_wide_one_is_that_of_its_latest_narrow_one(self):
        buckets = [a_bucket(10, samples=5, last_containers=7), a_bucket(0, samples=5, last_containers=1)]
        assert fold(buckets, 60)[0].figures.last_containers == 7

    def test_folding_twice_is_folding_once(self):
        buckets = [a_bucket(10 * n, failed=n, latency=Histogram.of([n])) for n in range(200)]
        assert fold(fold(buckets, 60), 600) == fold(buckets, 600)

    def test_functions_stay_apart(self):
        assert len(fold([a_bucket(), a_bucket(function="fu-2")], 60)) == 2

    def test_a_line_has_no_gaps_and_ends_before_its_end(self):
        points = line(
            [a_bucket(60, succeeded=1), a_bucket(60, function="fu-2", succeeded=2)],
            since=NOON + timedelta(seconds=5),
            until=NOON + timedelta(seconds=180),
            width=60,
        )
        assert [(point.start, point.figures.calls) for point in points] == [
            (NOON, 0),
            (NOON + timedelta(seconds=60), 3),
            (NOON + timedelta(seconds=120), 0),
        ]


class TestResolutions:
    def test_narrow_buckets_are_kept_for_less_long(self):
        assert [(one.width, one.kept) for one in KEPT] == [(10, timedelta(hours=1)), (60, timedelta(days=1)), (600, timedelta(days=7))]

    def test_nothing_is_kept_longer_than_the_setting(self):
        assert {one.kept for one in rollups.resolutions(timedelta(minutes=30))} == {timedelta(minutes=30)}

    @pytest.mark.parametrize(
        ("hours_ago", "width", "source"),
        [(0.5, 10, 10), (0.5, 60, 60), (0.5, 3600, 600), (5, 10, 60), (5, 120, 60), (48, 60, 600), (400, 60, 600), (0.5, 15, 10)],
    )
    def test_points_come_from_the_widest_buckets_that_fit_and_are_there(self, hours_ago, width, source):
        assert source_for(KEPT, since=NOON - timedelta(hours=hours_ago), now=NOON, width=width).width == source

    @pytest.mark.parametrize(("hours", "width"), [(0.01, 10), (0.9, 10), (1, 60), (6, 60), (12, 600), (24, 600), (168, 600)])
    def test_a_window_gets_some_sixty_points_or_more(self, hours, width):
        assert width_for(KEPT, since=NOON - timedelta(hours=hours), until=NOON, now=NOON) == width

    def test_a_bucket_begins_at_a_round_time(self):
        assert floor(NOON + timedelta(seconds=59, microseconds=1), 60) == NOON
