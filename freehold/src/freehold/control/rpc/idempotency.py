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


class Replies:
    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], asyncio.Future[Any]] = OrderedDict()
        self._bytes = 0

    async def once(self, name: str, caller: Caller, request: Any, handler: Callable[[Any, Caller], Awaitable[Any]]) -> Any:
        """The handler's reply; for a repeated creation, the reply of the first try (also while that is still running)."""
        if name not in KEYED or not caller.idempotency_key:
            return await handler(request, caller)
        key = (name, caller.idempotency_key)
        if (kept := self._kept.get(key)) is not None:
            return await asyncio.shield(kept)
        return await self._first(key, handler(request, caller))

    async def _first(self, key: tuple[str, str], work: Awaitable[Any]) -> Any:
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._kept[key] = reply
        if len(self._kept) > _KEPT:
            self._drop_oldest()
        try:
            result = await work
        except BaseException as error:
            self._kept.pop(key, None)  # a failed try left nothing: the next may do it
            _fail(reply, error)
            raise
        reply.set_result(result)
        if self._kept.get(key) is reply:
            self._bytes += _size(reply)
        while self._kept and self._bytes > _KEPT_BYTES:
            self._drop_oldest()
        return result

    def _drop_oldest(self) -> None:
        _, reply = self._kept.popitem(last=False)
        self._bytes -= _size(reply)


def _size(reply: "asyncio.Future[Any]") -> int:
    """Bytes of a reply that is there."""
    is_message = reply.done() and not reply.cancelled() and isinstance(reply.result(), Message)
    return int(reply.result().ByteSize()) if is_message else 0


def _fail(reply: "asyncio.Future[Any]", error: BaseException) -> None:
    """Who repeats while the first try runs is refused with it."""
    if isinstance(error, asyncio.CancelledError):
        reply.cancel()
    else:
        reply.set_exception(error)
        reply.exception()  # counts as seen, as nobody may have repeated
