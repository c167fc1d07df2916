"""One port for HTTPS and for plain HTTP: the first byte of a connection says which.

Links to blobs, and callers in containers, stay with plain HTTP, as they trust no authority of ours.
"""

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator

import anyio
import structlog
from anyio.abc import TaskGroup

_log = structlog.get_logger(__name__)

_TLS_HANDSHAKE = b"\x16"  # the content type that begins a TLS connection; no request line begins with it
_FIRST_BYTE_SECONDS = 20.0
_HANDSHAKE_SECONDS = 20.0
_OUT_OF_DESCRIPTORS_SECONDS = 0.1
_MOST_UNDECIDED = 2000  # connections that have said nothing yet, or shake hands; the oldest has to go for one more

Factory = Callable[[], asyncio.BaseProtocol]


@contextlib.asynccontextmanager
async def serving(listener: socket.socket, factory: Factory, context: ssl.SSLContext) -> AsyncIterator[None]:
    """Connections get a protocol of the factory, over TLS or plain. Leaving the block takes no new ones; those there are stay."""
    listener.setblocking(False)
    undecided = _Undecided()
    async with anyio.create_task_group() as group:
        group.start_soon(_accept, listener, factory, context, group, undecided)
        try:
            yield
        finally:
            group.cancel_scope.cancel()
            undecided.hang_up()


class _Undecided:
    """The connections that are no protocol's yet, oldest first: whoever opens many and says nothing keeps nobody else out."""

    def __init__(self) -> None:
        self._connections: OrderedDict[int, socket.socket] = OrderedDict()
        self._numbers = itertools.count()

    @contextlib.contextmanager
    def one(self, connection: socket.socket) -> Iterator[None]:
        number = next(self._numbers)
        if len(self._connections) >= _MOST_UNDECIDED:
            _hang_up(self._connections.popitem(last=False)[1])
        self._connections[number] = connection
        try:
            yield
        finally:
            self._connections.pop(number, None)

    def hang_up(self) -> None:
        for connection in self._connections.values():
            _hang_up(connection)


def _hang_up(connection: socket.socket) -> None:
    """Whoever has it meanwhile notices that by reading."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


async def _accept(listener: socket.socket, factory: Factory, context: ssl.SSLContext, group: TaskGroup, undecided: _Undecided) -> None:
    while True:
        try:
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        except OSError as error:
            _log.warning("accept_failed", reason=str(error))
            await anyio.sleep(_OUT_OF_DESCRIPTORS_SECONDS)
            continue
        group.start_soon(_welcome, connection, factory, context, undecided)


async def _welcome(connection: socket.socket, factory: Factory, context: ssl.SSLContext, undecided: _Undecided) -> None:
    """What fails here is the caller's doing: it left, said nothing, or does not trust us."""
    with undecided.one(connection):
        try:
            await _hand_over(connection, factory, context)
        except (OSError, TimeoutError) as error:
            _log.debug("connection_refused", reason=str(error) or type(error).__name__)
            connection.close()
        except BaseException:
            connection.close()
            raise


async def _hand_over(connection: socket.socket, factory: Factory, context: ssl.SSLContext) -> None:
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with anyio.fail_after(_FIRST_BYTE_SECONDS):
        is_tls = await _first_byte(connection) == _TLS_HANDSHAKE
    with anyio.CancelScope(shield=True):  # uvloop closes what is cancelled here without a word to its protocol
        await asyncio.get_running_loop().connect_accepted_socket(
            factory, connection, ssl=context if is_tls else None, ssl_handshake_timeout=_HANDSHAKE_SECONDS if is_tls else None
        )


async def _first_byte(connection: socket.socket) -> bytes:
    """Without taking it. Raises OSError if there is none."""
    await anyio.wait_readable(connection)
    first = connection.recv(1, socket.MSG_PEEK)
    if not first:
        msg = "It was closed before it said anything."
        raise ConnectionError(msg)
    return first
