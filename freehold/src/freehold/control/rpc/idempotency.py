"""Answers kept for retries: a creation that the client repeats with the same key is not done twice."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message

from freehold.control.caller import Caller

# Creations whose repetition would make a second thing. Everything else is safe to repeat as it is.
KEYED = frozenset({"AppCreate", "FunctionMap", "FunctionPutInputs", "FunctionRetryInputs", "AppPublish"})
_KEPT = 20_000  # replies; a client retries within seconds
_KEPT_BYTES = 64 * 1024 * 1024  # of them together: those of large maps name each input


_Key = tuple[str, str]  # the RPC, and the client's own key


class Replies:
    """Those that are there are kept as bytes: as messages they would take five times as much."""

    def __init__(self) -> None:
        self._under_way: dict[_Key, asyncio.Future[Any]] = {}
        self._kept: OrderedDict[_Key, tuple[type[Message], bytes]] = OrderedDict()
        self._bytes = 0

    async def once(self, name: str, caller: Caller, request: Any, handler: Callable[[Any, Caller], Awaitable[Any]]) -> Any:
        """The handler's reply; for a repeated creation, the reply of the first try (also while that is still running)."""
        if name not in KEYED or not caller.idempotency_key:
            return await handler(request, caller)
        key = (name, caller.idempotency_key)
        if (kept := self._kept.get(key)) is not None:
            message, data = kept
            return message.FromString(data)
        if (first := self._under_way.get(key)) is not None:
            return await asyncio.shield(first)
        return await self._first(key, handler(request, caller))

    async def _first(self, key: _Key, work: Awaitable[Any]) -> Any:
        reply = self._under_way[key] = asyncio.get_running_loop().create_future()
        try:
            result = await work
            self._keep(key, result)
            reply.set_result(result)
        except BaseException as error:  # a failed try left nothing: the next may do it
            _fail(reply, error)
            raise
        finally:
            del self._under_way[key]
        return result

    def _keep(self, key: _Key, reply: Message) -> None:
        data = reply.SerializeToString()
        self._kept[key] = type(reply), data
        self._bytes += len(data)
        while len(self._kept) > _KEPT or self._bytes > _KEPT_BYTES:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._bytes -= len(dropped)


def _fail(reply: "asyncio.Future[Any]", error: BaseException) -> None:
    """Who repeats while the first try runs is refused with it."""
    if isinstance(error, asyncio.CancelledError):
        reply.cancel()
    else:
        reply.set_exception(error)
        reply.exception()  # counts as seen, as nobody may have repeated
