"""What a container prints: read from its pipes, cut at lines, put in order, handed on. Slow readers slow the container, not the engine.

The pipes have names, so that an engine that was started anew can open them again. The container holds them open for both directions:
while no engine reads, what it prints waits in the pipe, and when that is full, the container waits.
"""

import codecs
import fcntl
import os
import select
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import anyio
from anyio.abc import TaskGroup

from freehold.domain.clock import Clock
from freehold.domain.logs import LogEntry, LogSource
from freehold.worker.marks import MarkReader, Piece
from freehold.worker.pace import Pace, container_pace

Sink = Callable[[list[LogEntry]], None]

_CHUNK = 64 * 1024
_PIPE_BYTES = 1024 * 1024  # what any user may have: more can wait while no engine reads
_WITHOUT_ENGINE = 150.0  # seconds that a container waits for one: as old may be what a new engine reads first
_PATIENCE = 0.1  # how long a line may stay unfinished before people want to see its beginning
_REST = 0.01  # seconds between two reads: what a busy program prints meanwhile costs no more than one line
_TOGETHER = 0.01  # seconds; lines that are no further apart are one entry
_DRAIN_DEADLINE = 5.0  # for what is in the pipes when the last process has gone
_TAIL_LINES = 50
_TAIL_LINE_LENGTH = 2000


class LineCutter:
    """Bytes in, text out: whole lines, or the beginning of one that is too long or was asked for."""

    def __init__(self, longest: int = _CHUNK) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._longest = longest
        self._unfinished = ""
        self.is_mid_line = False  # the last line has begun, and perhaps been shown
        self.waiting_since = 0.0  # of the unfinished line; set by whoever feeds

    @property
    def has_unfinished(self) -> bool:
        return bool(self._unfinished)

    def feed(self, data: bytes) -> Iterator[str]:
        """Pieces that are ready: all whole lines as one, and full lengths of a line without end."""
        text = self._unfinished + self._decode(data)
        whole, newline, rest = text.rpartition("\n")
        self.is_mid_line = not data.endswith(b"\n")
        if newline:
            yield whole + newline
        while len(rest) >= self._longest:
            yield rest[: self._longest]
            rest = rest[self._longest :]
        self._unfinished = rest

    def flush(self, *, final: bool = False) -> Iterator[str]:
        """The unfinished line as it is; at the end with what remained of a cut character."""
        text, self._unfinished = self._unfinished + self._decode(b"", final), ""
        if text:
            yield text


class Said(NamedTuple):
    """Text of one input, when it was written (seconds since the epoch), where."""

    at: float
    source: LogSource
    input_id: str
    text: str


class Stream:
    """One of the two streams of a container: bytes in, text of each input out. Lines of several inputs are put together again."""

    def __init__(self, source: LogSource, secret: str) -> None:
        self._source = source
        self._marks = MarkReader(secret)
        self._cutters: dict[str, LineCutter] = {}
        # Who wrote last, and when. The end of a line comes without a mark, and belongs to its beginning.
        self._last, self._last_at = "", 0.0

    @property
    def is_unfinished(self) -> bool:
        return self._marks.holds or any(cutter.has_unfinished for cutter in self._cutters.values())

    def feed(self, data: bytes, *, since: float, began: float, now: float) -> list[Said]:
        """`since` and `now` bound the times that the container gives; what has none was there when we `began` to look."""
        return self._cut(self._marks.feed(data), since, began, now)

    def show_late(self, now: float, *, at_once: bool) -> list[Said]:
        """Beginnings of lines that have waited long enough, or all that wait."""
        said = self._cut(self._marks.release(), now, now, now) if at_once else []
        for input_id, cutter in list(self._cutters.items()):
            if at_once or now - cutter.waiting_since >= _PATIENCE:
                said += [Said(now, self._source, input_id, text) for text in cutter.flush()]
                if not cutter.is_mid_line:
                    del self._cutters[input_id]
        return said

    def finish(self, now: float) -> list[Said]:
        said = self._cut(self._marks.release(), now, now, now)
        rest = [Said(now, self._source, each, text) for each, cutter in self._cutters.items() for text in cutter.flush(final=True)]
        self._cutters.clear()
        return said + rest

    def _cut(self, pieces: list[Piece], since: float, began: float, now: float) -> list[Said]:
        said = []
        for piece, at in zip(pieces, _times(pieces, since, began, now), strict=True):
            data = piece.data
            if not piece.input_id and data.startswith(b"\n") and (last := self._cutters.get(self._last)) and last.is_mid_line:
                said += self._said(self._last, b"\n", max(since, self._last_at), now)
                data = data[1:]
            if data:
                said += self._said(piece.input_id, data, at, now)
            self._last, self._last_at = piece.input_id, at
        return said

    def _said(self, input_id: str, data: bytes, at: float, now: float) -> list[Said]:
        cutter = self._cutters.setdefault(input_id, LineCutter())
        if not cutter.has_unfinished:
            cutter.waiting_since = now
        return [Said(at, self._source, input_id, text) for text in cutter.feed(data)]


class Tail:
    """The last lines of both streams, in the order in which they came."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_TAIL_LINES)
        self._unfinished = ""

    def add(self, text: str) -> None:
        *lines, self._unfinished = (self._unfinished + text).rsplit("\n", _TAIL_LINES + 1)
        self._lines.extend(line[:_TAIL_LINE_LENGTH] for line in lines[-_TAIL_LINES:])
        self._unfinished = self._unfinished[-_TAIL_LINE_LENGTH:]

    def text(self) -> str:
        return "\n".join((*self._lines, self._unfinished)).strip("\n")


class ContainerLog:
    """The output of one container."""

    def __init__(self, *, sink: Sink, clock: Clock, task_id: str = "", paces: Iterable[Pace] = ()) -> None:
        self._sink = sink
        self._clock = clock
        self._task_id = task_id
        self._secret = ""
        self._paces = (container_pace(clock), *paces)
        self._looked_at = self._now() - _WITHOUT_ENGINE
        self._hurry = anyio.Event()
        self._early: list[Said] = []
        self.tail = Tail()

    def expect_marks(self, secret: str) -> None:
        """From the beginning on, there are marks with this secret in the output. Otherwise nothing is taken for one."""
        self._secret = secret

    def hurry(self) -> None:
        """Read what is left without a rest."""
        self._hurry.set()

    async def read(self, pipes: Mapping[LogSource, int]) -> None:
        """Read pipes to their end and close them; all processes of the container must be gone for that."""
        streams = {pipe: Stream(source, self._secret) for source, pipe in pipes.items()}
        try:
            with select.epoll() as ready:
                for pipe in streams:
                    ready.register(pipe, select.EPOLLIN)
                await self._read(streams, ready)
        finally:
            for pipe in streams:
                os.close(pipe)

    async def _read(self, unread: dict[int, Stream], ready: select.epoll) -> None:
        while unread:
            is_late = not await self._wait(unread, ready)
            began = time.thread_time()
            self._look(unread, ready, is_late=is_late)
            work = time.thread_time() - began
            if unread and not is_late:
                with anyio.move_on_after(max(_REST, *(pace.spend(work) for pace in self._paces))):
                    await self._hurry.wait()

    async def _wait(self, unread: dict[int, Stream], ready: select.epoll) -> bool:
        """Until there is something to look at; False when it is the end of a line that was waited for, and that does not come."""
        if self._early:
            return True
        with anyio.move_on_after(_PATIENCE if any(stream.is_unfinished for stream in unread.values()) else None):
            await anyio.wait_readable(ready.fileno())
            return True
        return False

    def _look(self, unread: dict[int, Stream], ready: select.epoll, *, is_late: bool) -> None:
        """Take what is there from all pipes, and hand it on in the order in which it was written.

        What was written since we began to look waits for the next time: of the pipe that was read first, we do not have it.
        """
        began, since = self._now(), self._looked_at
        said, self._early = self._early, []
        for pipe, _ in ready.poll(0):
            try:
                data = os.read(pipe, _CHUNK)
            except BlockingIOError:  # a container can read what it has printed itself
                continue
            if data:
                said += unread[pipe].feed(data, since=since, began=began, now=self._now())
            else:
                ready.unregister(pipe)
                said += unread.pop(pipe).finish(began)
        for stream in unread.values():
            said += stream.show_late(began, at_once=is_late)
        self._looked_at = began
        said.sort(key=attrgetter("at"))
        in_time = bisect_right(said, began, key=attrgetter("at")) if unread else len(said)
        self._early = said[in_time:]
        self._hand_on(said[:in_time])

    def _hand_on(self, said: list[Said]) -> None:
        if not said:
            return
        for one in said:
            self.tail.add(one.text)
        self._sink(
            [
                LogEntry(at=first.at, source=first.source, text=text, task_id=self._task_id, input_id=first.input_id)
                for first, text in _joined(said)
            ]
        )

    def _now(self) -> float:
        return self._clock.now().timestamp()


class OutputPipes:
    """The pipes of one container's output: `stdout` and `stderr` in a folder, made if they are not there.

    The attributes of these names are the ends for the container.
    """

    def __init__(self, folder: Path) -> None:
        self._all_read = anyio.Event()
        reading_out, self.stdout = _open(folder / "stdout")
        reading_err, self.stderr = _open(folder / "stderr")
        self._pipes = {LogSource.STDOUT: reading_out, LogSource.STDERR: reading_err}

    def read(self, container_log: ContainerLog, group: TaskGroup) -> None:
        """Let a task of a group read them to their end. Until then, nothing is lost while we have the container's ends open too."""
        self._log = container_log
        group.start_soon(self._read, container_log)

    def close(self) -> None:
        """Close our copies of the container's ends, once it has its own: the end of the container is then the end of the pipes."""
        os.close(self.stdout)
        os.close(self.stderr)

    async def drain(self) -> None:
        """Wait until everything that was written has been handed on. Nothing more comes: there is no need to take it slowly."""
        self._log.hurry()
        with anyio.move_on_after(_DRAIN_DEADLINE):
            await self._all_read.wait()

    async def _read(self, container_log: ContainerLog) -> None:
        await container_log.read(self._pipes)
        self._all_read.set()


def _open(path: Path) -> tuple[int, int]:
    """Our end and the container's."""
    if not path.exists():
        os.mkfifo(path, 0o600)
    writing = os.open(path, os.O_RDWR)  # first: a reader that had never seen a writer would not see their end
    with suppress(OSError):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK), writing


def _times(pieces: list[Piece], since: float, began: float, now: float) -> list[float]:
    """When each was written: as marked, in order and within bounds; without a mark, when that was which came next."""
    last = next((piece.at for piece in reversed(pieces) if piece.at is not None), began)
    latest = min(now, max(began, last))
    times = []
    for piece in reversed(pieces):
        if piece.at is not None:
            latest = min(latest, max(since, piece.at))
        times.append(latest)
    return times[::-1]


def _joined(said: list[Said]) -> Iterator[tuple[Said, str]]:
    """Neighbours from one input and stream, written at one moment, are one entry as long as it does not grow too large."""
    first, parts, size = said[0], [said[0].text], len(said[0].text)
    for one in said[1:]:
        is_same = one.source is first.source and one.input_id == first.input_id and one.at - first.at < _TOGETHER
        if not is_same or size + len(one.text) > _CHUNK:
            yield first, "".join(parts)
            first, parts, size = one, [], 0
        parts.append(one.text)
        size += len(one.text)
    yield first, "".join(parts)
