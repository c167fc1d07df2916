"""What a container prints: read from its pipes, cut at lines, handed on at once. Slow readers slow the container, not the engine.

The pipes have names, so that an engine that was started anew can open them again. The container holds them open for both directions:
while no engine reads, what it prints waits in the pipe, and when that is full, the container waits.
"""

import codecs
import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from freehold.domain.clock import Clock
from freehold.domain.logs import LogEntry, LogSource

Sink = Callable[[list[LogEntry]], None]

_CHUNK = 64 * 1024
_PIPE_BYTES = 1024 * 1024  # what any user may have: more can wait while no engine reads
_PATIENCE = 0.1  # how long a line may stay unfinished before people want to see its beginning
_DRAIN_DEADLINE = 5.0  # for what is in the pipes when the last process has gone
_TAIL_LINES = 50
_TAIL_LINE_LENGTH = 2000


class LineCutter:
    """Bytes in, text out: whole lines, or the beginning of one that is too long or was asked for."""

    def __init__(self, longest: int = _CHUNK) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._longest = longest
        self._unfinished = ""

    @property
    def has_unfinished(self) -> bool:
        return bool(self._unfinished)

    def feed(self, data: bytes) -> Iterator[str]:
        """Pieces that are ready: all whole lines as one, and full lengths of a line without end."""
        text = self._unfinished + self._decode(data)
        whole, newline, rest = text.rpartition("\n")
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


class Tail:
    """The last lines of both streams, in the order in which they came."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_TAIL_LINES)
        self._unfinished = ""

    def add(self, text: str) -> None:
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        self._lines.extend(line[:_TAIL_LINE_LENGTH] for line in lines[-_TAIL_LINES:])
        self._unfinished = self._unfinished[-_TAIL_LINE_LENGTH:]

    def text(self) -> str:
        return "\n".join((*self._lines, self._unfinished)).strip("\n")


class ContainerLog:
    """The output of one container. `read` one stream each until its end; all its processes must be gone for that."""

    def __init__(self, *, sink: Sink, clock: Clock, task_id: str = "") -> None:
        self._sink = sink
        self._clock = clock
        self._task_id = task_id
        self.tail = Tail()

    async def read(self, pipe: int, source: LogSource) -> None:
        """Read a pipe to its end and close it."""
        cutter = LineCutter()
        try:
            while (data := await self._next(pipe, cutter, source)) != b"":
                self._emit(cutter.feed(data), source)
            self._emit(cutter.flush(final=True), source)
        finally:
            os.close(pipe)

    async def _next(self, pipe: int, cutter: LineCutter, source: LogSource) -> bytes:
        """The next bytes; what is unfinished is shown when they are late."""
        if cutter.has_unfinished:
            with anyio.move_on_after(_PATIENCE):
                return await _read(pipe)
            self._emit(cutter.flush(), source)
        return await _read(pipe)

    def _emit(self, pieces: Iterator[str], source: LogSource) -> None:
        for text in pieces:
            self.tail.add(text)
            self._sink([LogEntry(at=self._clock.now().timestamp(), source=source, text=text, task_id=self._task_id)])


async def _read(pipe: int) -> bytes:
    while True:
        await anyio.wait_readable(pipe)
        with suppress(BlockingIOError):  # a container can read what it has printed itself
            return os.read(pipe, _CHUNK)


class OutputPipes:
    """The pipes of one container's output: `stdout` and `stderr` in a folder, made if they are not there.

    The attributes of these names are the ends for the container.
    """

    def __init__(self, folder: Path) -> None:
        self._all_read = anyio.Event()
        reading_out, self.stdout = _open(folder / "stdout")
        reading_err, self.stderr = _open(folder / "stderr")
        self._unread = {LogSource.STDOUT: reading_out, LogSource.STDERR: reading_err}

    def read(self, container_log: ContainerLog, group: TaskGroup) -> None:
        """Let tasks of a group read them to their end. Until then, nothing is lost while we have the container's ends open too."""
        for source, pipe in self._unread.items():
            group.start_soon(self._read, container_log, pipe, source)

    def close(self) -> None:
        """Close our copies of the container's ends, once it has its own: the end of the container is then the end of the pipes."""
        os.close(self.stdout)
        os.close(self.stderr)

    async def drain(self) -> None:
        """Wait until everything that was written has been handed on."""
        with anyio.move_on_after(_DRAIN_DEADLINE):
            await self._all_read.wait()

    async def _read(self, container_log: ContainerLog, pipe: int, source: LogSource) -> None:
        await container_log.read(pipe, source)
        del self._unread[source]
        if not self._unread:
            self._all_read.set()


def _open(path: Path) -> tuple[int, int]:
    """Our end and the container's."""
    if not path.exists():
        os.mkfifo(path, 0o600)
    writing = os.open(path, os.O_RDWR)  # first: a reader that had never seen a writer would not see their end
    with suppress(OSError):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK), writing
