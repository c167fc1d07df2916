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
    async with anyio.create_task_group() as group:
        group.start_soon(_accept, listener, factory, context, group)
        try:
            yield
        finally:
            group.cancel_scope.cancel()


class _Undecided:
    """The connections that are no protocol's yet, oldest first: whoever opens many and says nothing keeps nobody else out."""

    def __init__(self) -> None:
        self._scopes: OrderedDict[int, anyio.CancelScope] = OrderedDict()
        self._numbers = itertools.count()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        number = next(self._numbers)
        if len(self._scopes) >= _MOST_UNDECIDED:
            self._scopes.popitem(last=False)[1].cancel()
        with anyio.CancelScope() as scope:
            self._scopes[number] = scope
            try:
                yield
            finally:
                self._scopes.pop(number, None)


async def _accept(listener: socket.socket, factory: Factory, context: ssl.SSLContext, group: TaskGroup) -> None:
    undecided = _Undecided()
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
    with undecided.one():
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
