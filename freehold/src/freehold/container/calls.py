"""Seam: calls that this container makes and waits for go over the engine's own socket instead of grpclib, at a fraction of the cost.

That is `FunctionMap` and `FunctionGetOutputs` of `.remote()` and its kin. What must be on the engine's disk first (`.spawn()`) stays on
gRPC, whose retries carry a key that tells the engine of a repetition.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .frames import FUNCTION_MAP, GET_OUTPUTS, HELLO_CALLS
from .link import Link, Unusable, link_to_engine
from .stub import Call, replace

_AT_ONCE = 0.0  # seconds: where the engine has gone, the stock way waits for it
_GRACE = 10.0  # seconds that an answer may come later than was asked for; as the stock code has it


def install() -> None:
    """Raises when this client is not as we know it; then nothing was changed."""
    link = link_to_engine(dict, greeting=HELLO_CALLS)
    replace(
        {
            "FunctionMap": lambda client, stock: _FunctionMap(client, stock, link),
            "FunctionGetOutputs": lambda client, stock: _GetOutputs(client, stock, link),
        }
    )


class _Linked(Call):
    def __init__(self, client: Any, stock: Any, link: Link) -> None:
        super().__init__(client, stock)
        self._link = link


class _FunctionMap(_Linked):
    async def _ask(self, request: Any) -> Any:
        from modal_proto import api_pb2

        synchronous = api_pb2.FUNCTION_CALL_INVOCATION_TYPE_SYNC, api_pb2.FUNCTION_CALL_INVOCATION_TYPE_SYNC_LEGACY
        if request.function_call_invocation_type not in synchronous:
            raise Unusable
        return api_pb2.FunctionMapResponse.FromString(await self._link.ask(FUNCTION_MAP, request.SerializeToString(), patience=_AT_ONCE))


class _GetOutputs(_Linked):
    async def _ask(self, request: Any) -> Any:
        from modal_proto.api_pb2 import FunctionGetOutputsResponse

        asked = self._link.ask(GET_OUTPUTS, request.SerializeToString(), patience=_AT_ONCE)
        try:
            return FunctionGetOutputsResponse.FromString(await asyncio.wait_for(asked, request.timeout + _GRACE))
        except asyncio.TimeoutError as error:
            raise Unusable from error
