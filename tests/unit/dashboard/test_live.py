"""What keeps pages live: who is given what, in which turn, and that all of it stays within its budget."""

import time

import anyio
import anyio.lowlevel
import pytest

from freehold.dashboard import live
from freehold.dashboard.budget import _SAVED, _SHARE, Budget
from freehold.dashboard.live import Hub
from freehold.domain.errors import ResourceExhausted


class Site:
    """Marks by subject, which a test changes; rendering a page costs so many seconds of CPU."""

    def __init__(self):
        self.marks = {}
        self.asked = []
        self.rendered = []
        self.costs = 0.001
        self.budget = Budget()
        self.hub = Hub(self.mark_of, self.content_of, self.budget)

    def mark_of(self, subject):
        self.asked.append(subject)
        return self.marks.get(subject, 0)

    def change(self, subject="all"):
        self.marks[subject] = self.marks.get(subject, 0) + 1

    async def content_of(self, page):
        self.rendered.append(page)
        self.budget.spend(self.costs)
        return f"{page} {len(self.rendered)}".encode()

    async def opened(self, page="/", subject="all"):
        """A page that has had its first content."""
        listener = self.hub.join(page, subject)
        await self.hub.tick()
        assert await taken(listener)
        self.rendered.clear()
        return listener


@pytest.fixture
def site():
    return Site()


async def taken(listener):
    return await listener.content() if listener._given.is_set() else b""


async def test_a_page_is_given_what_happened_between_it_and_its_stream(site):
    listener = site.hub.join("/", "all")
    await site.hub.tick()
    assert await taken(listener) == b"/ 1"
    await site.hub.tick()
    assert not await taken(listener)


async def test_only_pages_whose_mark_changed_are_rendered(site):
    first, second = await site.opened("/one", "one"), await site.opened("/two", "two")
    site.rendered.clear()
    site.change("one")
    await site.hub.tick()
    assert site.rendered == ["/one"]
    assert await taken(first)
    assert not await taken(second)


async def test_a_page_about_nothing_that_changes_is_never_rendered(site):
    site.hub.join("/secrets", "")
    await site.hub.tick()
    assert (site.asked, site.rendered) == ([], [])


async def test_a_page_that_takes_nothing_has_the_newest_alone_waiting(site):
    listener = await site.opened()
    for _ in range(5):
        site.change()
        await site.hub.tick()
    assert await taken(listener) == f"/ {len(site.rendered)}".encode()
    assert not await taken(listener)


async def test_who_has_the_same_page_open_is_given_one_rendering(site):
    crowd = [site.hub.join("/", "all") for _ in range(200)]
    await site.hub.tick()
    assert (site.asked, site.rendered) == (["all"], ["/"])
    assert {await taken(listener) for listener in crowd} == {b"/ 1"}


async def test_a_page_alone_is_given_all_that_changes(site):
    site.costs = _SHARE / 2
    listener = await site.opened()
    for _ in range(20):
        site.change()
        await site.hub.tick()
        assert await taken(listener)


async def test_many_different_pages_take_turns_within_the_budget(site):
    site.costs = _SHARE / 5
    for number in range(50):
        site.hub.join(f"/{number}", "all")
    ticks = 200
    for _ in range(ticks):
        site.change()
        await site.hub.tick()
    assert len(site.rendered) * site.costs == pytest.approx(_SHARE * ticks, rel=0.05)
    counts = {page: site.rendered.count(page) for page in set(site.rendered)}
    assert len(counts) == 50
    assert max(counts.values()) - min(counts.values()) <= 1


async def test_a_dear_page_is_rendered_seldom_but_is_rendered(site):
    site.costs = _SHARE * 10
    site.hub.join("/", "all")
    for _ in range(100):
        site.change()
        await site.hub.tick()
    assert 9 <= len(site.rendered) <= 11


async def test_nobody_renders_for_who_left(site):
    listener = await site.opened()
    site.change()
    site.hub._look()
    site.hub.leave(listener)
    site.hub.leave(listener)
    await site.hub.tick()
    assert site.rendered == []
    assert len(site.hub) == 0


async def test_there_is_a_bound(site, monkeypatch):
    monkeypatch.setattr(live, "_MOST", 1)
    site.hub.join("/", "all")
    with pytest.raises(ResourceExhausted):
        site.hub.join("/", "all")


class TestMetered:
    @pytest.fixture
    def budget(self):
        budget = Budget()
        for _ in range(10):
            budget.earn(1)
        return budget

    async def test_what_is_computed_is_spent_and_what_is_awaited_is_not(self, budget):
        async def work():
            await anyio.lowlevel.checkpoint()
            began = time.thread_time()
            while time.thread_time() - began < 2 * _SHARE * _SAVED:
                pass
            return "done"

        await budget.metered(anyio.sleep(0.2))
        assert budget.is_left
        assert await budget.metered(work()) == "done"
        assert not budget.is_left

    async def test_a_cancellation_reaches_the_work(self, budget):
        ended = []

        async def work():
            try:
                await anyio.sleep_forever()
            finally:
                ended.append(True)

        with anyio.move_on_after(0.01):
            await budget.metered(work())
        assert ended

    async def test_a_failure_is_the_callers(self, budget):
        async def work():
            await anyio.lowlevel.checkpoint()
            msg = "it failed"
            raise ValueError(msg)

        with pytest.raises(ValueError, match="it failed"):
            await budget.metered(work())
