"""WebSockets to functions that take them as messages, and to the engine's own pages: their handshake and frames are uvicorn's business, on the
transport that is there.
"""

from typing import Any

import anyio
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from freehold.gateway.connections import Connection
from freehold.gateway.heads import Head

_LOOK_SECONDS = 0.05
_MOST_TO_PAGES = 64 * 1024  # bytes of a message to the engine's own pages


class WebSocketServer:
    def __init__(self, functions: ASGIApp, own_pages: ASGIApp) -> None:
        self._functions = _config(functions)
        self._own_pages = _config(own_pages, ws_max_size=_MOST_TO_PAGES, ws_per_message_deflate=False)
        self._state = ServerState()

    def take_over(self, connection: Connection, head: Head, *, is_own: bool = False) -> None:
        """For a function; or, where it `is_own`, for the engine's own pages."""
        rest = connection.release_transport()
        protocol = WebSocketsSansIOProtocol(self._own_pages if is_own else self._functions, self._state, {})
        protocol.connection_made(connection.transport)
        fields = b"".join(b"\r\n" + name + b": " + value for name, value in head.fields)
        protocol.data_received(b"GET " + head.target + b" HTTP/1.1" + fields + b"\r\n\r\n" + rest)
        connection.transport.set_protocol(protocol)

    def shutdown(self) -> None:
        for protocol in list(self._state.connections):
            protocol.shutdown()

    @property
    def is_busy(self) -> bool:
        return bool(self._state.tasks)

    async def cancel(self, within: float) -> None:
        """End what goes on still, and wait for it."""
        for task in self._state.tasks:
            task.cancel()
        with anyio.move_on_after(within):
            while self._state.tasks:  # noqa: ASYNC110 — they are of uvicorn, which waits for them by looking too
                await anyio.sleep(_LOOK_SECONDS)


def _config(app: ASGIApp, **options: Any) -> uvicorn.Config:
    config = uvicorn.Config(app, ws="websockets-sansio", lifespan="off", access_log=False, log_config=None, proxy_headers=False, **options)
    config.load()
    return config
