"""The marks in a container's output that say which input wrote what: put in by `container/stdio.py`, taken out here.

    RS secret input-id ' ' microseconds RS … text … RS secret RS        RS is the byte 0x1e

What only looks like a mark stays in the text. Who knows the secret, that is the container itself, can lie about its own lines only:
the control plane believes ids of inputs that this container was given.
"""

import re
from typing import NamedTuple

_RS = b"\x1e"
_LONGEST_MARK = 160
_FEW = 64


class Piece(NamedTuple):
    """Bytes of one input; empty id and no time (seconds since the epoch) for those that nobody has marked."""

    input_id: str
    at: float | None
    data: bytes


class MarkReader:
    """Reads one stream, in chunks that may end anywhere. Without a secret nothing is a mark."""

    def __init__(self, secret: str) -> None:
        self._begin = _RS + secret.encode()
        self._mark = re.compile(re.escape(self._begin) + rb"(?:([\w-]{1,80}) ([0-9a-f]{1,16}))?\x1e") if secret else None
        self._head = re.compile(re.escape(self._begin) + rb"[\w-]{1,80} [0-9a-f]{1,16}\x1e")
        self._tail = self._begin + _RS
        self._now = Piece("", None, b"")
        self._held = b""

    @property
    def holds(self) -> bool:
        """Whether the end of what came may be the beginning of a mark."""
        return bool(self._held)

    def feed(self, data: bytes) -> list[Piece]:
        if self._mark is None:
            return [Piece("", None, data)]
        text, *rest = self._mark.split(self._simplified(self._held + data))
        found = [self._now._replace(data=text)]
        for input_id, micros, text in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
            self._now = Piece(input_id.decode(), int(micros, 16) / 1e6, b"") if input_id else Piece("", None, b"")
            found.append(self._now._replace(data=text))
        found[-1], self._held = self._hold(found[-1])
        return [piece for piece in found if piece.data]

    def _simplified(self, data: bytes) -> bytes:
        """One mark where each line has the same. That is most of the work when one input prints much."""
        heads = dict.fromkeys(self._head.findall(data))
        if len(heads) <= _FEW and len({head.partition(b" ")[0] for head in heads}) == 1:
            for head in heads:
                first = data.index(head) + len(head)
                rest = data[first:].replace(self._tail + b"\n" + head, b"\n").replace(self._tail + head, b"")
                data = data[:first] + rest
        return data

    def release(self) -> list[Piece]:
        """It was no mark: nothing came after it."""
        data, self._held = self._held, b""
        return [self._now._replace(data=data)] if data else []

    def _hold(self, last: Piece) -> tuple[Piece, bytes]:
        at = last.data.rfind(_RS, -_LONGEST_MARK)
        if at < 0 or not (self._begin.startswith(last.data[at:]) or last.data[at:].startswith(self._begin)):
            return last, b""
        return last._replace(data=last.data[:at]), last.data[at:]
