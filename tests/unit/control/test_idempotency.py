"""A creation that a client repeats is done once, and every repetition gets the reply of the first."""

import asyncio

import pytest
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc import idempotency
from freehold.control.rpc.idempotency import Replies
from freehold.domain.errors import InvalidRequest

CALLER = Caller(idempotency_key="key-1")


def made(number):
    return api_pb2.AppCreateResponse(app_id=f"made {number}")


class Creation:
    """A handler that counts, and can be held."""

    def __init__(self):
        self.done = 0
        self.error = None
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self, request, caller):
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        self.done += 1
        return made(self.done)


@pytest.fixture
def creation():
    return Creation()


@pytest.fixture
def replies():
    return Replies()


async def test_the_same_key_gets_the_same_reply(replies, creation):
    assert [await replies.once("AppCreate", CALLER, None, creation) for _ in range(2)] == [made(1), made(1)]


async def test_another_key_or_another_rpc_is_another_creation(replies, creation):
    for name, key in (("AppCreate", "a"), ("AppCreate", "b"), ("AppPublish", "a")):
        await replies.once(name, Caller(idempotency_key=key), None, creation)
    assert creation.done == 3


async def test_what_is_safe_to_repeat_is_repeated(replies, creation):
    for caller, name in ((CALLER, "AppList"), (CALLER, "AppList"), (Caller(), "AppCreate"), (Caller(), "AppCreate")):
        await replies.once(name, caller, None, creation)
    assert creation.done == 4


async def test_a_repetition_waits_for_the_first_try(replies, creation):
    creation.may_end.clear()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        tries = [group.create_task(replies.once("AppCreate", CALLER, None, creation)) for _ in range(2)]
        await asyncio.sleep(0)
        creation.may_end.set()
    assert [item.result() for item in tries] == [made(1), made(1)]


async def test_a_repetition_of_a_try_that_fails_is_refused_with_it(replies, creation):
    creation.error = InvalidRequest("no")
    creation.may_end.clear()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        tries = [group.create_task(_outcome(replies.once("AppCreate", CALLER, None, creation))) for _ in range(2)]
        await asyncio.sleep(0)
        creation.may_end.set()
    assert [item.result() for item in tries] == ["InvalidRequest", "InvalidRequest"]


async def test_a_failed_try_is_not_kept(replies, creation):
    creation.error = InvalidRequest("no")
    with pytest.raises(InvalidRequest):
        await replies.once("AppCreate", CALLER, None, creation)
    creation.error = None
    assert await replies.once("AppCreate", CALLER, None, creation) == made(1)


async def test_the_oldest_replies_go(replies, creation, monkeypatch):
    monkeypatch.setattr(idempotency, "_KEPT", 1)
    first, second = CALLER, Caller(idempotency_key="key-2")
    done = [await replies.once("AppCreate", caller, None, creation) for caller in (first, second, second, first)]
    assert done == [made(1), made(2), made(2), made(3)]


async def _outcome(reply):
    try:
        return await reply
    except (InvalidRequest, KeyError) as error:
        return type(error).__name__


async def test_large_replies_are_kept_up_to_a_bound_of_bytes(replies, monkeypatch):
    monkeypatch.setattr(idempotency, "_KEPT_BYTES", 1000)

    async def accept(request, caller):
        return api_pb2.FunctionMapResponse(function_call_id="x" * 300)

    for n in range(20):
        await replies.once("FunctionMap", Caller(idempotency_key=str(n)), None, accept)
    assert len(replies._kept) == replies._bytes // 303 == 3
