"""The curves of a function: made once for all who look at them."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from fakes.clock import FakeClock
from starlette.applications import Starlette
from starlette.testclient import TestClient

from freehold.control.services.metrics import Series
from freehold.dashboard import charts
from freehold.dashboard.charts import ChartPages
from freehold.domain.ids import new_app_id, new_function_id


class Figures:
    """Counts how often they were asked for."""

    def __init__(self):
        self.asked = []
        self.clock = FakeClock()

    async def function(self, function_id):
        return SimpleNamespace(id=function_id, app_id=new_app_id())

    async def variants_of(self, _, function_id):
        return {function_id}

    async def series(self, function_ids, *, since):
        self.asked.append((function_ids, self.clock.now() - since))
        return Series(10, ())


@pytest.fixture
def figures():
    return Figures()


@pytest.fixture
def visitor(figures):
    parts = SimpleNamespace(listings=figures, functions=figures, metrics=figures, clock=figures.clock)
    return TestClient(Starlette(routes=ChartPages(parts).routes))


def test_they_are_made_once_for_all_and_again_when_they_are_old(figures, visitor):
    path = f"/functions/{new_function_id()}/series"
    first = visitor.get(path).json()
    assert visitor.get(path).json() == first
    assert len(figures.asked) == 1
    figures.clock.move(charts._LIFE + 1)
    visitor.get(path)
    assert len(figures.asked) == 2


def test_those_of_another_function_or_time_are_others(figures, visitor):
    one, two = new_function_id(), new_function_id()
    for function_id, since in ((one, "1h"), (one, "1d"), (two, "1h")):
        visitor.get(f"/functions/{function_id}/series?since={since}")
    assert figures.asked == [({one}, timedelta(hours=1)), ({one}, timedelta(days=1)), ({two}, timedelta(hours=1))]


def test_few_are_kept(figures, visitor, monkeypatch):
    monkeypatch.setattr(charts, "_MOST_KEPT", 2)
    one, *others = (f"/functions/{new_function_id()}/series" for _ in range(3))
    for path in (one, *others, one):
        visitor.get(path)
    assert len(figures.asked) == 4
