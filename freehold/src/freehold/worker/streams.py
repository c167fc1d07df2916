"""The streams of a command in a container: output that is read by offset and held back when nobody reads, input that is written once."""

import errno
import os
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio

from freehold.domain.errors import Conflict
from freehold.wire.execs import InputStatus

_AHEAD = 1 << 20  # bytes that nobody has taken yet, beyond which the command waits
_BEHIND = 256 << 10  # bytes that were taken, and can be taken again by who lost them on the way
_STALLED = 60.0  # seconds
_PIECE = 64 << 10  # as much as a pipe holds
_LAST_WORDS = 1 << 20  # bytes: as much as a pipe can be made to hold
_END_OF_TRANSMISSION = b"\x04"  # what a terminal takes for the end of its input


class Output:
    """One output stream of a command: the bytes of it that are kept, by their offset from its beginning."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._start = 0  # offset of the first byte that is kept
        self._taken = 0  # before this, all has been handed to a reader
        self._is_whole = False
        self._changed = anyio.Event()
        self.readers = 0

    @property
    def is_unread(self) -> bool:
        """There is something that nobody has taken, and nobody is about to."""
        return not self.readers and self._taken < self._end

    def append(self, data: bytes) -> None:
        self._kept += data
        surplus = min(len(self._kept) - _AHEAD - _BEHIND, self._taken - self._start)
        if surplus > 0:
            del self._kept[:surplus]
            self._start += surplus
        self._change()

    def finish(self) -> None:
        self._is_whole = True
        self._change()

    async def room(self) -> None:
        """Returns when more may be appended."""
        while self._end - self._taken >= _AHEAD:
            await self._changed.wait()

    async def taken(self) -> None:
        """Returns when those who read it have it all, have left, or take nothing any more."""
        while self.readers and not (self._is_whole and self._taken == self._end):
            with anyio.move_on_after(_STALLED) as waiting:
                await self._changed.wait()
            if waiting.cancelled_caught:
                return

    async def read(self, offset: int) -> AsyncIterator[bytes]:
        """From there on, as it comes, to the end. Raises Conflict when the beginning of that is kept no longer."""
        self.readers += 1
        try:
            while not self._is_whole or offset < self._end:
                data = self._from(offset)
                if not data:
                    await self._changed.wait()
                    continue
                yield data
                offset += len(data)
                self._take(offset)
        finally:
            self.readers -= 1
            self._change()

    def _from(self, offset: int) -> bytes:
        if offset < self._start:
            msg = f"Output before byte {self._start} is kept no longer."
            raise Conflict(msg)
        at = offset - self._start
        return bytes(self._kept[at : at + _PIECE])

    def _take(self, offset: int) -> None:
        """When a reader comes back for more, it has been given what was before."""
        if offset > self._taken:
            self._taken = offset
            self._change()

    @property
    def _end(self) -> int:
        return self._start + len(self._kept)

    def _change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


async def pump(source: int, output: Output) -> None:
    """What can be read from a descriptor goes to an output, as fast as that has room, to the end. It may be cancelled at any time."""
    with suppress(OSError):  # a terminal that nobody has open
        while data := await _next(source, output):
            output.append(data)


async def _next(source: int, output: Output) -> bytes:
    await output.room()
    await anyio.wait_readable(source)
    return os.read(source, _PIECE)


def drain(source: int, output: Output) -> None:
    """What can be read at once, and no more: a process in the background may hold the other end for as long as it likes."""
    left = _LAST_WORDS
    with suppress(OSError):  # nothing there, or as above
        while left > 0 and (data := os.read(source, _PIECE)):
            output.append(data)
            left -= len(data)


class Input:
    """The beginning of a command's input, by its descriptor, which this closes."""

    def __init__(self, target: int, *, is_terminal: bool) -> None:
        os.set_blocking(target, False)
        self._target = target
        self._is_terminal = is_terminal
        self._written = 0
        self._has_ended = False  # all was written
        self._is_closed = False
        self._turn = anyio.Lock()
        self._writing: anyio.CancelScope | None = None

    @property
    def status(self) -> InputStatus:
        return InputStatus(written=self._written, is_closed=self._has_ended or self._is_closed)

    async def write(self, offset: int, data: bytes, *, eof: bool) -> None:
        """See `WorkerExecs.write`. Whoever is cancelled may have written a part of it, which `status` counts."""
        async with self._turn:
            if offset > self._written:
                msg = f"Its input goes on at byte {self._written}, not at {offset}."
                raise Conflict(msg)
            await self._write(data[self._written - offset :])
            if eof and not self._has_ended:
                await self._finish()

    def close(self) -> None:
        """When the command has ended."""
        if not self._is_closed:
            self._is_closed = True
            if self._writing is not None:
                self._writing.cancel()
            os.close(self._target)

    async def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            if self._has_ended or self._is_closed:
                raise Conflict(_NOBODY)
            count = await self._write_some(left)
            self._written += count
            left = left[count:]

    async def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._target, data)
        except BlockingIOError:
            with anyio.CancelScope() as self._writing:
                await anyio.wait_writable(self._target)
            self._writing = None
            return 0
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            raise Conflict(_NOBODY) from error

    async def _finish(self) -> None:
        self._has_ended = True
        if self._is_terminal and not self._is_closed:
            with suppress(OSError):
                os.write(self._target, _END_OF_TRANSMISSION)
        elif not self._is_closed:
            self.close()


_NOBODY = "Nobody reads its input any more: the command has closed it, or has ended."
