"""Writes that come together are committed together, and fail apart."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from freehold.control.services import group_commit as module
from freehold.control.services.group_commit import GroupCommit
from freehold.domain.errors import ResourceExhausted


class CountingStore:
    """Transactions that can be held up; what was written counts once its transaction has ended well."""

    def __init__(self):
        self.commits = []
        self.open = asyncio.Event()
        self.open.set()
        self.refusals = 0  # that many transactions from now on fail at their end
        self.tries = 0

    @asynccontextmanager
    async def transaction(self):
        written = []
        await self.open.wait()
        yield written
        self.tries += 1
        if self.refusals:
            self.refusals -= 1
            msg = "The disk is full."
            raise ResourceExhausted(msg)
        self.commits.append(written)

    @property
    def kept(self):
        return [item for commit in self.commits for item in commit]


@pytest.fixture
def store():
    return CountingStore()


BAD = object()


async def write(tx, items):
    if BAD in items:
        raise ZeroDivisionError
    tx.extend(items)


async def test_writes_that_wait_for_a_commit_share_the_next(store):
    group_commit = GroupCommit(store=store, write=write)
    store.open.clear()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(group_commit.put(number))
            await asyncio.sleep(0)
        store.open.set()
    assert store.commits == [[0], [1, 2, 3, 4, 5, 6, 7, 8, 9]]


async def test_a_write_is_kept_when_it_returns(store):
    await GroupCommit(store=store, write=write).put("x")
    assert store.kept == ["x"]


async def test_one_that_fails_spoils_none_of_the_others(store):
    group_commit = GroupCommit(store=store, write=write)
    outcomes = {}

    async def noted(name, item):
        try:
            outcomes[name] = await group_commit.put(item)
        except ZeroDivisionError as error:
            outcomes[name] = error

    store.open.clear()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for number, item in enumerate([0, 1, BAD, 3]):
            group.create_task(noted(number, item))
            await asyncio.sleep(0)
        store.open.set()
    assert {name for name, outcome in outcomes.items() if outcome is not None} == {2}
    assert sorted(store.kept) == [0, 1, 3]


async def test_whoever_is_cancelled_while_committing_leaves_the_others_to_the_next(store):
    group_commit = GroupCommit(store=store, write=write)
    store.open.clear()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        first = group.create_task(group_commit.put("first"))
        await asyncio.sleep(0)
        second = group.create_task(group_commit.put("second"))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        store.open.set()
        await second
    assert "second" in store.kept


async def test_what_the_store_refuses_is_refused_to_all_that_waited_and_not_tried_one_by_one(store):
    group_commit = GroupCommit(store=store, write=write)
    store.open.clear()
    store.refusals = 2
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        writes = [group.create_task(_refused(group_commit, number)) for number in range(10)]
        await asyncio.sleep(0)
        store.open.set()
    assert all(write.result() for write in writes)
    assert store.tries == 2, "the first write, then the nine that came while it was tried"
    assert store.kept == []


async def test_what_must_be_kept_is_tried_until_the_store_takes_it(store, monkeypatch):
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    store.refusals = 3
    async with asyncio.timeout(30):
        await GroupCommit(store=store, write=write).insist("a result")
    assert store.kept == ["a result"]


async def _refused(group_commit, item):
    try:
        await group_commit.put(item)
    except ResourceExhausted:
        return True
