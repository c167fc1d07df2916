"""Seam: calls that a container makes itself go over the engine's own socket instead of grpclib, at a fraction of the cost.

Those are its greeting and its heartbeats, without which a start opens no HTTP/2 connection at all, and `FunctionMap` and
`FunctionGetOutputs` of `.remote()` and its kin. What must be on the engine's disk first (`.spawn()`) stays on gRPC, whose retries carry
a key that tells the engine of a repetition.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from . import traces
from .frames import HELLO_CALLS, RPC
from .link import Link, Unusable, link_to_engine
from .stub import Call, replace

_AT_ONCE = 0.0  # seconds: where the engine has gone, the stock way waits for it


def install() -> None:
    """Raises when this client is not as we know it; then nothing was changed."""
    from google.protobuf.empty_pb2 import Empty
    from modal_proto import api_pb2

    link = link_to_engine(dict, greeting=HELLO_CALLS)
    replace(
        {
            "ContainerHello": partial(_Linked, link=link, response=Empty),
            "ContainerHeartbeat": partial(_Linked, link=link, response=api_pb2.ContainerHeartbeatResponse),
            "FunctionMap": partial(_FunctionMap, link=link, response=api_pb2.FunctionMapResponse),
            "FunctionGetOutputs": partial(_Linked, link=link, response=api_pb2.FunctionGetOutputsResponse),
        }
    )


class _Linked(Call):
    def __init__(self, client: Any, stock: Any, *, link: Link, response: Any) -> None:
        super().__init__(client, stock)
        self._link = link
        self._name: bytes = stock.name.rpartition("/")[2].encode()
        self._response = response

    def _head(self, _options: Any) -> bytes:
        return self._name + b"\0"

    async def _ask(self, request: Any, **options: Any) -> Any:
        asked = self._link.ask(RPC, self._head(options) + request.SerializeToString(), patience=_AT_ONCE)
        try:
            return self._response.FromString(await asyncio.wait_for(asked, getattr(options.get("retry"), "attempt_timeout", None)))
        except asyncio.TimeoutError as error:
            raise Unusable from error


class _FunctionMap(_Linked):
    """A call says which span of the user's it is made in, on both ways."""

    async def __call__(self, request: Any, **options: Any) -> Any:
        if context := traces.current():
            options["metadata"] = [*(options.get("metadata") or ()), ("traceparent", context)]
        return await super().__call__(request, **options)

    def _head(self, options: Any) -> bytes:
        context = dict(options.get("metadata") or ()).get("traceparent", "")
        return self._name + (f" {context}".encode() if context else b"") + b"\0"

    async def _ask(self, request: Any, **options: Any) -> Any:
        from modal_proto import api_pb2

        waited_for = api_pb2.FUNCTION_CALL_INVOCATION_TYPE_SYNC, api_pb2.FUNCTION_CALL_INVOCATION_TYPE_SYNC_LEGACY
        if request.function_call_invocation_type not in waited_for:
            raise Unusable
        return await super()._ask(request, **options)
