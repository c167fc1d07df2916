"""Ids have the shape that the client checks; those of calls and inputs are in the order of their moments."""

import re

import pytest

from freehold.domain import ids

MS = 1_000_000  # nanoseconds


@pytest.mark.parametrize(("prefix", "make"), [("ap", ids.new_app_id), ("fc", ids.new_call_id), ("in", ids.new_input_id)])
def test_they_have_the_shape_that_the_client_checks(prefix, make):
    assert re.fullmatch(f"{prefix}-[a-zA-Z0-9]{{22}}", make())


@pytest.mark.parametrize("make", [ids.new_call_id, ids.new_input_id])
def test_those_made_later_come_later(make, monkeypatch):
    moments = [0, 1, 61, 62, 3843, 3844, 1_795_000_000_000, 1_795_000_000_001, 3_500_000_000_000]
    made = []
    for moment in moments:
        monkeypatch.setattr(ids.time, "time_ns", lambda moment=moment: moment * MS)
        made.append(make())
    assert made == sorted(made)


def test_no_two_of_one_moment_are_the_same(monkeypatch):
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_795_000_000_000 * MS)
    assert len({ids.new_call_id() for _ in range(10_000)}) == 10_000
