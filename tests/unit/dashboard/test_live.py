"""What keeps pages live: who is told, how often, and what a slow page costs."""

import anyio
import pytest

from freehold.dashboard import live
from freehold.dashboard.live import Hub
from freehold.domain.errors import ResourceExhausted


class Source:
    def __init__(self):
        self.number = 0

    def __call__(self):
        return self.number


async def is_woken(listener):
    with anyio.move_on_after(0.01):
        return await listener.woken()
    return False


async def test_only_pages_whose_mark_changed_are_told():
    hub, one, two = Hub(), Source(), Source()
    (_, first), (_, second) = hub.join(one), hub.join(two)
    hub.tick()
    assert not await is_woken(first)
    one.number += 1
    hub.tick()
    assert await is_woken(first)
    assert not await is_woken(second)


async def test_what_changed_many_times_is_told_once():
    hub, source = Hub(), Source()
    _, listener = hub.join(source)
    for _ in range(5):
        source.number += 1
        hub.tick()
    assert await is_woken(listener)
    assert not await is_woken(listener)


async def test_many_pages_take_turns_within_a_bound():
    hub, source = Hub(), Source()
    listeners = [hub.join(source)[1] for _ in range(200)]
    told = [0] * len(listeners)
    for _ in range(28):
        source.number += 1
        hub.tick()
        for place, listener in enumerate(listeners):
            told[place] += listener._flag.is_set() and await listener.woken()
    assert sum(told) == 28 * live._WAKEUPS
    assert max(told) - min(told) <= 1


async def test_who_left_is_forgotten():
    hub, source = Hub(), Source()
    number, _ = hub.join(source)
    source.number += 1
    hub.tick()
    source.number += 1
    hub.leave(number)
    hub.leave(number)
    hub.tick()
    assert len(hub) == 0


async def test_there_is_a_bound(monkeypatch):
    monkeypatch.setattr(live, "_MOST", 1)
    hub = Hub()
    hub.join(Source())
    with pytest.raises(ResourceExhausted):
        hub.join(Source())
