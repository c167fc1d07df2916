"""The engine's end of the sockets to zygotes and their embryos: messages as `container/zygote.py` frames them, with descriptors beside."""

import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio

_HEADER = struct.Struct("!I")
_CREDENTIALS = struct.Struct("3i")
_LONGEST = 4 * 1024 * 1024  # what the other end says comes from a container


class Line:
    """One of two ends; the other goes to the container. `peer` is the pid of who has spoken last, as the kernel says it."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._rest = b""
        self.peer = 0

    def give_away(self) -> None:
        """The container has its end: only its own copies keep the line open."""
        self.theirs.close()

    def close(self) -> None:
        """Whoever waits here is told that the connection has ended."""
        if self._ours.fileno() != -1:
            anyio.notify_closing(self._ours)
        self._ours.close()
        self.theirs.close()

    async def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        data = json.dumps(message).encode()
        data = _HEADER.pack(len(data)) + data
        while data:
            try:
                sent = socket.send_fds(self._ours, [data], list(descriptors))
            except BlockingIOError:
                await _ready(anyio.wait_writable, self._ours)
                continue
            data, descriptors = data[sent:], ()

    async def receive(self) -> dict[str, Any]:
        """The next message. Raises ConnectionError when the other end has gone or talks nonsense."""
        (size,) = _HEADER.unpack(await self._exactly(_HEADER.size))
        if size > _LONGEST:
            raise ConnectionAbortedError
        try:
            return dict(json.loads(await self._exactly(size)))
        except (TypeError, ValueError) as error:
            raise ConnectionAbortedError from error

    async def wait_closed(self) -> None:
        """Nobody at the other end any more, or somebody who speaks unasked."""
        await _ready(anyio.wait_readable, self._ours)

    async def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            try:
                self._rest += self._take()
            except BlockingIOError:
                await _ready(anyio.wait_readable, self._ours)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _take(self) -> bytes:
        data, ancillary, _, _ = self._ours.recvmsg(64 * 1024, socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(64))
        if not data:
            raise ConnectionResetError
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                self.peer = _CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0]
            elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                _close_all(content)  # nobody asked for them
        return data


async def _ready(wait: Callable[[socket.socket], Awaitable[None]], sock: socket.socket) -> None:
    try:
        await wait(sock)
    except anyio.ClosedResourceError as error:
        raise ConnectionResetError from error


def _close_all(content: bytes) -> None:
    for (descriptor,) in struct.iter_unpack("i", content[: len(content) // 4 * 4]):
        os.close(descriptor)
