"""Seam: `FunctionGetInputs` and `FunctionPutOutputs` go over the engine's own socket instead of grpclib, at a fraction of the cost.

All else stays on gRPC. What this way cannot do (no connection, an engine that refuses) is asked of the stock way, which knows what
its caller must get.
"""

from __future__ import annotations

from typing import Any

from . import traces
from .frames import GET_INPUTS, PUT_OUTPUTS, contexts_of
from .link import Link, link_to_engine
from .stub import Call, replace

_PATIENCE = 150.0  # seconds without an engine after which inputs are asked for in the stock way
_FOR_EVER = float("inf")  # results are offered until they are taken, as by the stock code


def install() -> None:
    """Raises when this client is not as we know it; then nothing was changed."""
    held: dict[str, int] = {}
    link = link_to_engine(lambda: held)
    replace(
        {
            "FunctionGetInputs": lambda client, stock: _GetInputs(client, stock, link, held),
            "FunctionPutOutputs": lambda client, stock: _PutOutputs(client, stock, link, held),
        }
    )


class _Linked(Call):
    """`held` are the inputs in hand: their ids, and which attempt each is. Noted at once: a connection that is made anew tells it."""

    def __init__(self, client: Any, stock: Any, link: Link, held: dict[str, int]) -> None:
        super().__init__(client, stock)
        self._link = link
        self._held = held


class _GetInputs(_Linked):
    async def _ask(self, request: Any, **_: Any) -> Any:
        from modal_proto.api_pb2 import FunctionGetInputsResponse

        answer = await self._link.ask(GET_INPUTS, request.SerializeToString(), patience=_PATIENCE)
        response = FunctionGetInputsResponse.FromString(answer)
        self._note(request, response)
        if contexts := contexts_of(answer):
            traces.expect(zip((item.input_id for item in response.inputs), contexts))
        return response

    def _note(self, _request: Any, response: Any) -> None:
        self._held.update((item.input_id, item.retry_count) for item in response.inputs if item.input_id)


class _PutOutputs(_Linked):
    _has_reported = False

    async def _ask(self, request: Any, **_: Any) -> Any:
        from google.protobuf.empty_pb2 import Empty

        await self._link.ask(PUT_OUTPUTS, request.SerializeToString(), patience=_FOR_EVER)
        if not self._has_reported:  # what the first input has imported
            self._has_reported = True
            self._link.report()
        self._note(request, None)
        return Empty()

    def _note(self, request: Any, _response: Any) -> None:
        for item in request.outputs:
            if self._held.get(item.input_id) == item.retry_count:
                del self._held[item.input_id]
