"""The writing side of a caller's connection: one response at a time, framed so that its end cannot be mistaken."""

import asyncio
from http import HTTPStatus

from starlette.responses import Response

from freehold.gateway.heads import Head

_NO_BODY = frozenset({204, 304})
_LAST_CHUNK = b"0\r\n\r\n"


def _status_line(status: int) -> bytes:
    known = status in HTTPStatus.__members__.values()
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase if known else ''}".rstrip(" ").encode()


STATUS_LINES = {status: _status_line(status) for status in range(100, 600)}


class Outlet(asyncio.Protocol):
    """`begin`, then `send` as often as wanted, then `finish`, or `cut` at any time. What is written leaves with `flush`, `finish` or `cut`.

    Field lines come as they are written, each with the end of the line before it.
    """

    __slots__ = (
        "_is_bodiless",
        "_is_chunked",
        "_out",
        "_until_close",
        "has_begun",
        "head",
        "is_slow",
        "keeps_alive",
        "status",
        "transport",
    )

    transport: asyncio.Transport
    head: Head | None

    def __init__(self) -> None:
        self._out: list[bytes] = []
        self.head = None
        self.status = 0
        self.has_begun = False  # the caller has heard something of a response
        self.keeps_alive = False
        self.is_slow = False
        self._is_bodiless = self._is_chunked = self._until_close = False

    def inform(self, status: int, lines: bytes = b"") -> None:
        """An interim response: 100, 103."""
        if self.head and self.head.minor:
            self.transport.write(STATUS_LINES[status] + lines + b"\r\n\r\n")

    def switch(self, lines: bytes) -> None:
        """101: from now on bytes pass as they are, and the connection ends with them."""
        self.has_begun, self.status, self.keeps_alive = True, 101, False
        self._is_bodiless = self._is_chunked = self._until_close = False
        self.transport.write(STATUS_LINES[101] + lines + b"\r\n\r\n")

    def begin(self, status: int, lines: bytes, length: bytes | None) -> None:
        """`length` is the Content-Length; None: not known, or nothing."""
        line = STATUS_LINES[status]
        self.has_begun, self.status = True, status
        self._out.append(line + lines + self._framing(status, length) + b"\r\n\r\n")

    def send(self, data: bytes) -> None:
        if self._is_bodiless or not data:
            return
        if self._is_chunked:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def flush(self) -> None:
        if self._out:
            self.transport.write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
            self._out.clear()

    def finish(self) -> None:
        if self._is_chunked:
            self._out.append(_LAST_CHUNK)
        self.flush()
        self.responded()

    def cut(self) -> None:
        """Nobody may take half a response for a whole one."""
        self.flush()
        if self._until_close:
            self.transport.abort()
        else:
            self.transport.close()

    def answer(self, response: Response) -> None:
        """A whole response at once."""
        fields = [(name, value) for name, value in response.raw_headers if name not in {b"content-length", b"date"}]
        lines = b"".join(b"\r\n" + name + b": " + value for name, value in fields)
        body = bytes(response.body)
        self.begin(response.status_code, lines, None if response.status_code in _NO_BODY else str(len(body)).encode())
        self.send(body)
        self.finish()

    def responded(self) -> None:
        """The response is complete: the connection goes on, or ends."""
        raise NotImplementedError

    def _framing(self, status: int, length: bytes | None) -> bytes:
        head = self.head
        is_new = head is None or head.minor
        self._is_bodiless = status in _NO_BODY or (head is not None and head.method == b"HEAD")
        self._is_chunked = self._until_close = False
        framing = b""
        if length is not None and status != HTTPStatus.NO_CONTENT:
            framing = b"\r\ncontent-length: " + length
        elif not self._is_bodiless:
            self._is_chunked = bool(is_new)
            self._until_close = not is_new
        if self._is_chunked:
            framing = b"\r\ntransfer-encoding: chunked"
        if self._until_close:
            self.keeps_alive = False
        if not self.keeps_alive:
            return framing + b"\r\nconnection: close"
        return framing if is_new else framing + b"\r\nconnection: keep-alive"
