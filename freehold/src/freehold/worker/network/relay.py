"""A door inside each container's network: 127.0.0.1 on the gateway's port leads to the engine's gateway, also without a network."""

import socket

import anyio
from anyio.abc import SocketListener, SocketStream, TaskStatus

from freehold.worker.network.namespaces import run_inside

_CHUNK = 256 * 1024
_BACKLOG = 128
_CONNECT_DEADLINE = 5.0


async def serve_gateway_door(namespace: str, gateway: tuple[str, int], *, task_status: TaskStatus[None]) -> None:
    """Serve until cancelled; connections end with it."""
    door = await run_inside(namespace, lambda: _listen(gateway[1]))
    async with await SocketListener.from_socket(door) as listener:
        task_status.started()
        await listener.serve(lambda visitor: _relay(visitor, gateway))


def _listen(port: int) -> socket.socket:
    """A socket belongs to the namespace in which it was made, whoever uses it later."""
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.bind(("127.0.0.1", port))
    door.listen(_BACKLOG)
    door.setblocking(False)
    return door


async def _relay(visitor: SocketStream, gateway: tuple[str, int]) -> None:
    async with visitor:
        try:
            with anyio.fail_after(_CONNECT_DEADLINE):
                inward = await anyio.connect_tcp(*gateway)
        except (OSError, TimeoutError):
            return  # the visitor sees a closed connection, as it would of a gateway that is down
        async with inward, anyio.create_task_group() as group:
            group.start_soon(_pump, visitor, inward)
            group.start_soon(_pump, inward, visitor)


async def _pump(source: SocketStream, sink: SocketStream) -> None:
    """Carry bytes until their end, no faster than they are taken."""
    try:
        while True:
            await sink.send(await source.receive(_CHUNK))
    except anyio.EndOfStream:
        await sink.send_eof()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        await sink.aclose()
        await source.aclose()
