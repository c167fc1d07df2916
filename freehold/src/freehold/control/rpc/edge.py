"""The edge that every call passes: who asks, what the bytes mean, which status an error becomes."""

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from freehold.control.caller import Caller
from freehold.control.rpc.errors import code_of
from freehold.control.rpc.idempotency import Replies
from freehold.domain.errors import FreeholdError, InvalidRequest

log = structlog.get_logger()

Parse = Callable[[bytes], Any]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_LONGEST_TEXT = 2000  # bytes of an error; statuses travel as HTTP headers, where clients refuse longer ones with worse words

# These wait, change nothing while they do, and must end with their caller.
_LONG_POLLS = frozenset({
    "ContainerExecPutInput", "ContainerExecWait", "ContainerHeartbeat", "FunctionCallPutDataOut", "FunctionGetInputs", "FunctionGetOutputs", "TaskExecStdinWrite", "TaskExecWait",
    "TokenFlowWait",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Refused:
    code: grpc.StatusCode
    text: str


class Callers(Protocol):
    def caller(self, rpc: str, metadata: Mapping[str, str]) -> Caller:
        """Who asks for this, by the metadata. Raises Unauthenticated, PermissionDenied or InvalidRequest."""
        ...


class Edge:
    """Wraps handlers. A caller who hangs up ends long polls and streams; everything else is carried through, so that no change
    stops half-way.
    """

    def __init__(self, callers: Callers, group: asyncio.TaskGroup) -> None:
        self._callers = callers
        self._group = group
        self._replies = Replies()

    def unary(self, name: str, handler: Callable[[Any, Caller], Awaitable[Any]], parse: Parse) -> Callable[..., Awaitable[Any]]:
        async def call(request: bytes, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            answer = self._answer(name, handler, parse, request, context)
            reply = await answer if name in _LONG_POLLS else await asyncio.shield(self._group.create_task(answer))
            if isinstance(reply, _Refused):
                await context.abort(reply.code, reply.text)
            return reply

        return call

    def stream(self, name: str, handler: Callable[[Any, Caller], AsyncIterator[Any]], parse: Parse) -> Callable[..., AsyncIterator[Any]]:
        async def call(request: bytes, context: "grpc.aio.ServicerContext[Any, Any]") -> AsyncIterator[Any]:
            try:
                caller = self._caller(name, context)
                async for item in handler(_parsed(parse, request), caller):
                    yield item
            except Exception as error:  # noqa: BLE001 — the edge: told apart in _refusal_of
                refused = _refusal_of(name, error)
                await context.abort(refused.code, refused.text)

        return call

    def upload(
        self, name: str, handler: Callable[[AsyncIterator[Any], Caller], Awaitable[Any]], parse: Parse
    ) -> Callable[..., Awaitable[Any]]:
        async def call(requests: AsyncIterator[bytes], context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            try:
                return await handler(_all_parsed(parse, requests), self._caller(name, context))
            except Exception as error:  # noqa: BLE001 — as above
                refused = _refusal_of(name, error)
                await context.abort(refused.code, refused.text)

        return call

    async def _answer(self, name: str, handler: Callable[[Any, Caller], Awaitable[Any]], parse: Parse, request: bytes, context: Any) -> Any:
        try:
            caller = self._caller(name, context)
            return await self._replies.once(name, caller, _parsed(parse, request), handler)
        except Exception as error:  # noqa: BLE001 — as above
            return _refusal_of(name, error)

    def _caller(self, name: str, context: Any) -> Caller:
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        return self._callers.caller(name, metadata)


def _refusal_of(name: str, error: Exception) -> _Refused:
    """What a domain error says, in its status; nothing of an unexpected one but where to look."""
    if isinstance(error, FreeholdError):
        return _Refused(code_of(error), _shortened(str(error)))
    if isinstance(error, OSError) and error.errno in _FULL:
        return _Refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED, "The engine's disk is full: nothing new can be kept. Make room, then try again."
        )
    log.error("rpc_failed", rpc=name, exc_info=error)
    return _Refused(grpc.StatusCode.INTERNAL, f"{name} failed inside the engine; its log has the details.")


def _parsed(parse: Parse, request: bytes) -> Any:
    """The message, read only for callers that are known."""
    try:
        return parse(request)
    except (DecodeError, ValueError) as error:
        msg = f"The request cannot be read: {error}."
        raise InvalidRequest(msg) from error


async def _all_parsed(parse: Parse, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _parsed(parse, request)


def _shortened(text: str) -> str:
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= _LONGEST_TEXT else encoded[:_LONGEST_TEXT].decode(errors="ignore") + "…"
