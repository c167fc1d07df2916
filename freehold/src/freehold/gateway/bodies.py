"""The body of a request, cut out of what arrives: so many bytes, or chunks by a strict grammar."""

import re
from typing import Protocol

from freehold.gateway.errors import BodyTooLarge, Malformed

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t -~\x80-\xff]*+)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+")
_MAX_LINE = 256  # bytes of a chunk's size and extensions; nobody is known to send extensions
_MAX_TRAILERS = 16 * 1024  # bytes; they are dropped


class Body(Protocol):
    is_complete: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What of `data` is the body's, and what comes after its end. Raises Malformed, BodyTooLarge."""
        ...


class SizedBody:
    __slots__ = ("_left", "is_complete")

    def __init__(self, length: int) -> None:
        self._left = length
        self.is_complete = not length

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        size = len(data)
        if size < self._left:
            self._left -= size
            return data, b""
        left, self._left, self.is_complete = self._left, 0, True
        return (data, b"") if size == left else (data[:left], data[left:])


class ChunkedBody:
    """`limit` is the largest size, in bytes; 0: any."""

    __slots__ = ("_left", "_limit", "_line", "_read", "_size", "_trailers", "is_complete")

    def __init__(self, limit: int = 0) -> None:
        self._limit = limit
        self._size = 0  # of the body so far
        self._left = 0  # of the chunk
        self._line = b""  # the beginning of one that has no end yet
        self._read = self._read_size
        self._trailers = 0  # bytes
        self.is_complete = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        content: list[bytes] = []
        at = 0
        while at < len(data) and not self.is_complete:
            if self._left:
                content.append(data[at : at + self._left])
                at, self._left = at + len(content[-1]), self._left - len(content[-1])
            else:
                at = self._feed_line(data, at)
        return (content[0] if len(content) == 1 else b"".join(content)), data[at:]

    def _feed_line(self, data: bytes, at: int) -> int:
        """Where the next line begins. Nothing of what follows is copied: chunks may be of one byte each."""
        end = data.find(b"\n", at)
        self._line += data[at:] if end < 0 else data[at:end]
        if len(self._line) > _MAX_LINE + _MAX_TRAILERS * (self._read == self._read_trailer):
            text = "A line between the chunks of the body is too long."
            raise Malformed(text)
        if end < 0:
            return len(data)
        line, self._line = self._line, b""
        if not line.endswith(b"\r"):
            text = "A line between the chunks of the body does not end with CR and LF."
            raise Malformed(text)
        self._read(line[:-1])
        return end + 1

    def _read_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            text = "The size of a chunk is not a hexadecimal number."
            raise Malformed(text)
        self._left = int(match[1], 16)
        self._size += self._left
        if self._limit and self._size > self._limit:
            raise BodyTooLarge(too_large(self._limit))
        self._read = self._read_end if self._left else self._read_trailer

    def _read_end(self, line: bytes) -> None:
        if line:
            text = "A chunk is longer than its size says."
            raise Malformed(text)
        self._read = self._read_size

    def _read_trailer(self, line: bytes) -> None:
        if not line:
            self.is_complete = True
            return
        self._trailers += len(line)
        if self._trailers > _MAX_TRAILERS or not _TRAILER.fullmatch(line):
            text = "The fields after the body are too long, or are not `name: value`."
            raise Malformed(text)


def too_large(limit: int) -> str:
    return f"The body of a request may have {limit:,} bytes (the setting FREEHOLD_HTTP_MAX_BODY_BYTES)."
