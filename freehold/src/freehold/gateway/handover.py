"""WebSockets to functions that take them as messages: their handshake and frames are uvicorn's business, on the transport that is there."""

import anyio
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from freehold.gateway.connections import Connection
from freehold.gateway.heads import Head

_LOOK_SECONDS = 0.05


class WebSocketServer:
    def __init__(self, app: ASGIApp) -> None:
        self._config = uvicorn.Config(app, ws="websockets-sansio", lifespan="off", access_log=False, log_config=None, proxy_headers=False)
        self._config.load()
        self._state = ServerState()

    def take_over(self, connection: Connection, head: Head) -> None:
        rest = connection.release_transport()
        protocol = WebSocketsSansIOProtocol(self._config, self._state, {})
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
