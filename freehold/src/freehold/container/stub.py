"""Where seams put calls of their own: the stub of the client, from which modal's code reads each callable when it calls it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Callable

from .link import Unusable


def replace(makers: Mapping[str, Callable[[Any, Any], Any]]) -> None:
    """Put `maker(client, stock)` where the stock callable of that name is, in every client that this process opens as a container.

    Raises when this client is not as we know it; then nothing was changed.
    """
    from modal._grpc_client import UnaryUnaryWrapper
    from modal.client import _Client
    from modal_proto.api_pb2 import CLIENT_TYPE_CONTAINER

    client_class: Any = _Client
    process, opened = os.getpid(), client_class._open

    async def _open(client: Any) -> None:
        await opened(client)
        stub = client._control_plane_stub
        stock = {name: getattr(stub, name, None) for name in makers}
        # A forked child opens its client anew: what it asks for is its own business.
        ours = client.client_type == CLIENT_TYPE_CONTAINER and os.getpid() == process
        if ours and all(isinstance(call, UnaryUnaryWrapper) for call in stock.values()):
            for name, make in makers.items():
                setattr(stub, name, make(client, stock[name]))

    client_class._open = _open


class Call:
    """Stands in the stub where the stock callable was, which is asked whatever this way cannot do."""

    def __init__(self, client: Any, stock: Any) -> None:
        self._client = client
        self._stock = stock
        self.name = stock.name

    async def __call__(self, request: Any, **options: Any) -> Any:
        if not self._client._snapshotted:  # its calls go to another client
            try:
                return await self._client._call_safely(self._ask(request, **options), self.name)
            except Unusable:
                pass
        response = await self._stock(request, **options)
        self._note(request, response)
        return response

    async def _ask(self, request: Any, **options: Any) -> Any:
        """The answer by our way. Raises Unusable."""
        raise NotImplementedError

    def _note(self, request: Any, response: Any) -> None:
        """What is to be remembered of an answer that came by the stock way."""
