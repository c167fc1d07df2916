"""Frames on the socket between a container and the engine, for both ends.

A frame is a header of nine bytes (length of the payload, kind, number of the request; big-endian), then the payload. The container
opens with HELLO or HELLO_CALLS and may ask nothing before it is answered. Every request is answered once, with ANSWER or REFUSED and its own number;
a request that was cancelled may be.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

HELLO = 1  # JSON: see `link.py`; answered empty, or refused and the connection closed
GET_INPUTS = 2  # FunctionGetInputsRequest → FunctionGetInputsResponse, perhaps `with_contexts`
PUT_OUTPUTS = 3  # FunctionPutOutputsRequest → empty
CANCEL = 4  # the request of this number is no longer waited for
ANSWER = 5
REFUSED = 6  # with the reason, as text
SERVE = 7  # JSON: see `web.py`; answered, empty, when the container is to leave: at once if it says why it does not serve
HELLO_CALLS = 8  # as HELLO, for a connection over which the container makes calls of its own
RPC = 9  # over such: the name of a call, perhaps a space and a `traceparent`, a zero byte, its request → its response
REPORT = 16  # JSON: see `phases.py`; how the container started, told once

LONGEST = 128 * 1024 * 1024  # bytes of a payload; what gRPC takes too
_HEADER = struct.Struct("!IBI")
_CONTEXT = b"\x7a"  # the tag of field 15, of bytes; the message has none above 4


class FrameTooLong(Exception):
    """The other end is not one of ours, or broken: nothing more can be read from it."""


def frame(kind: int, number: int, payload: bytes = b"") -> bytes:
    """One frame, ready to be sent."""
    return _HEADER.pack(len(payload), kind, number) + payload


def with_contexts(inputs: bytes, contexts: Sequence[str]) -> bytes:
    """A FunctionGetInputsResponse with the `traceparent` of each of its inputs (at most 127 bytes, empty for none) in front: as a field
    that the message does not know, so whoever does not ask for it (`contexts_of`) passes over it.
    """
    return b"".join([_CONTEXT + bytes([len(context)]) + context.encode() for context in contexts] + [inputs]) if contexts else inputs


def contexts_of(inputs: bytes) -> list[str]:
    """What `with_contexts` has put there, in the order of the inputs."""
    contexts, start = [], 0
    while inputs[start : start + 1] == _CONTEXT:
        end = start + 2 + inputs[start + 1]
        contexts.append(inputs[start + 2 : end].decode())
        start = end
    return contexts


class Splitter:
    """Bytes as they come, as whole frames. `longest` may be raised once the other end is known."""

    def __init__(self, longest: int = LONGEST) -> None:
        self.longest = longest
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """The frames (kind, number, payload) that are whole now. Raises FrameTooLong as soon as a header announces such."""
        self._rest += data
        frames = []
        start = 0
        while len(self._rest) - start >= _HEADER.size:
            length, kind, number = _HEADER.unpack_from(self._rest, start)
            if length > self.longest:
                raise FrameTooLong(length)
            end = start + _HEADER.size + length
            if len(self._rest) < end:
                break
            frames.append((kind, number, bytes(self._rest[start + _HEADER.size : end])))
            start = end
        del self._rest[:start]
        return frames
