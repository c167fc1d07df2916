"""Seam: `FunctionGetInputs` and `FunctionPutOutputs` go over the engine's own socket instead of grpclib, at a fraction of the cost.

Container code reads the two from its client's stub at each call, so they are replaced there, in every client that this process opens.
All else stays on gRPC. What this way cannot do (no connection, an engine that refuses) is asked of the stock way, which knows what
its caller must get.
"""

from __future__ import annotations

import os
from typing import Any

from .frames import GET_INPUTS, PUT_OUTPUTS
from .link import Link, Unusable, link_to_engine

_PATIENCE = 150.0  # seconds without an engine after which inputs are asked for in the stock way
_FOR_EVER = float("inf")  # results are offered until they are taken, as by the stock code


def install() -> None:
    """Raises when this client is not as we know it; then nothing was changed."""
    from modal._grpc_client import UnaryUnaryWrapper
    from modal.client import _Client
    from modal_proto.api_pb2 import CLIENT_TYPE_CONTAINER

    client_class: Any = _Client
    held: dict[str, int] = {}
    link, process, opened = link_to_engine(lambda: held), os.getpid(), client_class._open

    async def _open(client: Any) -> None:
        await opened(client)
        stub = client._control_plane_stub
        stock = [getattr(stub, name, None) for name in ("FunctionGetInputs", "FunctionPutOutputs")]
        # A forked child opens its client anew: what it asks for is its own business.
        ours = client.client_type == CLIENT_TYPE_CONTAINER and os.getpid() == process
        if ours and all(isinstance(call, UnaryUnaryWrapper) for call in stock):
            stub.FunctionGetInputs = _GetInputs(client, stock[0], link, held)
            stub.FunctionPutOutputs = _PutOutputs(client, stock[1], link, held)

    client_class._open = _open


class _Call:
    """Stands in the stub where the stock callable was. `held` are the inputs in hand: their ids, and which attempt each is."""

    def __init__(self, client: Any, stock: Any, link: Link, held: dict[str, int]) -> None:
        self._client = client
        self._stock = stock
        self._link = link
        self._held = held
        self.name = stock.name

    async def __call__(self, request: Any, **options: Any) -> Any:
        if not self._client._snapshotted:  # its calls go to another client
            try:
                return await self._client._call_safely(self._ask(request), self.name)
            except Unusable:
                pass
        response = await self._stock(request, **options)
        self._note(request, response)
        return response

    async def _ask(self, request: Any) -> Any:
        """Over the link. What is in hand is noted at once: a connection that is made anew tells it."""
        raise NotImplementedError

    def _note(self, request: Any, response: Any) -> None:
        raise NotImplementedError


class _GetInputs(_Call):
    async def _ask(self, request: Any) -> Any:
        from modal_proto.api_pb2 import FunctionGetInputsResponse

        response = FunctionGetInputsResponse.FromString(await self._link.ask(GET_INPUTS, request.SerializeToString(), patience=_PATIENCE))
        self._note(request, response)
        return response

    def _note(self, _request: Any, response: Any) -> None:
        self._held.update((item.input_id, item.retry_count) for item in response.inputs if item.input_id)


class _PutOutputs(_Call):
    _has_reported = False

    async def _ask(self, request: Any) -> Any:
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
