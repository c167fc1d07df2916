"""Anything at all, cut anywhere: the gateway's reading of requests never fails, never makes two of one, and always comes to an end.

httptools, whose grammar is another one, is the witness: what passes here it must read in the same way.
"""

import asyncio
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import httptools
from fakes.gateway import FakeTraces
from fakes.lanes import FakeLanes
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.config import Settings
from freehold.gateway.connections import Connection
from freehold.gateway.exchanges import Exchange
from freehold.gateway.heads import Head
from freehold.gateway.late import Late
from freehold.gateway.limits import Limits
from freehold.gateway.state import ServerState

HOST = b"Host: local--f.localhost\r\n"
VALID = [
    b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /a?b=c HTTP/1.0\r\nConnection: keep-alive\r\n" + HOST + b"\r\n",
    b"POST /p HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
    b"PUT /c HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nX: 1\r\n\r\n",
    b"HEAD http://local--f.localhost/h HTTP/1.1\r\n" + HOST + b"Connection: close, X\r\nX: 1\r\n\r\n",
    b"POST /e HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
]
SPICE = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"\x00",
    b"0",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\xff",
    b"\r\n\r\n",
]


LIMITS = Limits.of(Settings())


class Wire:
    """A transport that remembers."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_closed = self.is_held = False

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name in {"peername", "sockname"} else None

    def write(self, data: bytes) -> None:
        assert data
        self.written += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        assert not self.is_held
        self.is_held = True

    def resume_reading(self) -> None:
        assert self.is_held
        self.is_held = False


class Taken(Exchange):
    """A request that is answered as soon as it is complete."""

    kind = "own"
    body = b""
    is_answered = False

    def start(self, content: bytes, is_complete: bool) -> None:
        self.receive(content, is_complete)

    def receive(self, content: bytes, is_complete: bool) -> None:
        self.body += content
        if is_complete:
            self.is_answered = True
            self.caller.begin(200, b"", b"2")
            self.caller.send(b"ok")
            self.caller.finish()

    def abandon(self) -> None:
        pass


class Reader(ServerState):
    """Gives requests to nobody, and runs what is due by hand."""

    def __init__(self) -> None:
        super().__init__(lanes=FakeLanes(), traces=FakeTraces(), limits=LIMITS, late=Late(LIMITS.redirect_after), measured=None)
        self.now = 0.0
        self.loop = cast(asyncio.AbstractEventLoop, self)
        self.due: list[Callable[[], None]] = []
        self.taken: list[Taken] = []

    def call_soon(self, work: Callable[[], None]) -> None:
        self.due.append(work)

    def begin(self, connection: Connection, head: Head, content: bytes, is_complete: bool) -> None:
        connection.exchange = exchange = Taken(self, connection, head)
        self.taken.append(exchange)
        exchange.start(content, is_complete)


def read(*pieces: bytes) -> tuple[Reader, Wire]:
    reader, wire = Reader(), Wire()
    connection = Connection(reader, reader.begin)
    connection.connection_made(cast(asyncio.Transport, wire))
    for piece in pieces:
        if not wire.is_closed:
            connection.data_received(piece)
        while reader.due:
            reader.due.pop(0)()
    connection.connection_lost(None)
    assert not reader.connections
    assert not reader.busy
    return reader, wire


class Witness:
    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes]] = []

    def on_message_begin(self) -> None:
        self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self.requests.append((self.parser.get_method(), self._body))


def witnessed(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """Method and body of each request; None if it cannot be read."""
    witness = Witness()
    witness.parser = httptools.HttpRequestParser(witness)
    witness.parser.set_dangerous_leniencies(lenient_data_after_close=True)
    try:
        witness.parser.feed_data(data)
    except httptools.HttpParserError:
        return None
    return witness.requests


def answers_in(wire: Wire) -> list[bytes]:
    """Their statuses. Whether one sentence or another tells what is wrong may depend on how much of it is there."""
    return re.findall(rb"HTTP/1\.1 (\d{3}) ", wire.written)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = b"".join(draw(st.lists(st.sampled_from(VALID), min_size=1, max_size=4)))
    for _ in range(draw(st.integers(0, 3))):
        at, how = draw(st.integers(0, len(data))), draw(st.integers(0, 2))
        piece = draw(st.sampled_from(SPICE)) if how else b""
        data = data[:at] + piece + data[at + draw(st.integers(0, 3)) * (how < 2) :]
    return data


PLACES = st.lists(st.integers(0, 10_000), max_size=8)
quick = settings(max_examples=300)


@quick
@given(data=st.one_of(st.binary(max_size=300), mutated()), places=PLACES)
def test_nothing_fails_and_cuts_change_nothing(data: bytes, places: list[int]) -> None:
    whole, one_wire = read(data)
    parts, other_wire = read(*cut(data, places))

    def seen(reader: Reader) -> list[tuple[bytes, bytes, bytes]]:
        return [(taken.head.method, taken.head.target, taken.body) for taken in reader.taken if taken.is_answered]

    assert seen(whole) == seen(parts)
    assert answers_in(one_wire) == answers_in(other_wire)
    assert one_wire.is_closed == other_wire.is_closed


@quick
@given(data=mutated())
def test_what_passes_is_read_by_others_in_the_same_way(data: bytes) -> None:
    reader, wire = read(data)
    complete = wire.written.count(b"HTTP/1.1 200 ")
    if wire.is_closed or complete < len(reader.taken):
        return  # refused, or not there as a whole
    theirs = witnessed(data.removeprefix(b"\r\n"))
    ours = [(taken.head.method, taken.body) for taken in reader.taken]
    assert theirs is None or ours == theirs[: len(ours)]


@quick
@given(data=mutated())
def test_each_request_is_answered_once_or_the_connection_ends(data: bytes) -> None:
    reader, wire = read(data)
    answers = answers_in(wire)
    refusals = [answer for answer in answers if answer != b"200"]
    assert len(refusals) <= wire.is_closed
    assert len(answers) <= len(reader.taken) + len(refusals)
    assert len(reader.taken) <= len(answers) + 1, "one may wait for the rest of its body"
