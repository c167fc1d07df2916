"""Which blobs go when the folder is full."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from freehold.domain.retention import LEAST_AGE, blobs_to_delete

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD = [("a", 10, NOW - 5 * LEAST_AGE), ("b", 20, NOW - 4 * LEAST_AGE), ("c", 30, NOW - 3 * LEAST_AGE)]


def test_nothing_goes_while_there_is_room():
    assert blobs_to_delete(OLD, needed=set(), excess=0, now=NOW) == []


def test_the_oldest_go_until_enough_is_free():
    assert blobs_to_delete(OLD, needed=set(), excess=11, now=NOW) == ["a", "b"]


def test_what_is_needed_stays():
    assert blobs_to_delete(OLD, needed={"a", "c"}, excess=100, now=NOW) == ["b"]


def test_what_was_used_lately_stays():
    fresh = ("d", 40, NOW - LEAST_AGE + timedelta(seconds=1))
    assert blobs_to_delete([*OLD, fresh], needed=set(), excess=100, now=NOW) == ["a", "b", "c"]


@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(0, 10_000)), max_size=30),
    st.sets(st.integers(0, 29).map(str)),
    st.integers(0, 2000),
)
def test_never_more_than_needed_to_fit_and_never_what_must_stay(sizes_and_ages, needed, excess):
    blobs = [(str(number), size, NOW - timedelta(seconds=age)) for number, (size, age) in enumerate(sizes_and_ages)]
    blobs.sort(key=lambda blob: blob[2])
    chosen = blobs_to_delete(blobs, needed=needed, excess=excess, now=NOW)
    size_of = {name: size for name, size, _ in blobs}
    assert not set(chosen) & needed
    assert sum(size_of[name] for name in chosen[:-1]) < max(excess, 1)
