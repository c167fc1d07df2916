"""Streams beside a call's input and result: request bodies on their way in, generator values and response bodies on their way out.

A stream holds a bounded number of bytes: whoever writes waits while the reader is slow. Chunks are numbered from 1; a reader that
lost its connection asks again from the last number it had, so the last chunks stay until later ones are read.
"""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from modal_proto import api_pb2

from freehold.control.wakeups import Wakeup
from freehold.domain.errors import DeadlineExceeded

_ROOM = 16 * 1024 * 1024  # bytes not yet read, beyond which writers wait
_CHUNK_COST = 512  # bytes that a chunk takes in memory beside its data
_REPLAY = 32  # chunks kept after they were read, for a reader that comes back
_WRITE_LIMIT = 300.0  # seconds that a writer waits for a reader


@dataclass(slots=True, eq=False)
class DataStream:
    chunks: deque[api_pb2.DataChunk] = field(default_factory=deque)
    last_index: int = 0
    read_index: int = 0
    sent_index: int = 0  # its reader has come back for more after this one
    readers: int = 0
    unread_bytes: int = 0
    closed: bool = False
    changed: Wakeup = field(default_factory=Wakeup)
    drained: Wakeup = field(default_factory=Wakeup)

    async def write(self, chunks: Sequence[api_pb2.DataChunk]) -> None:
        """Chunks that are there already (sent again after a lost connection) are skipped."""
        await self._wait_for_room()
        self._add(chunks)

    async def append(self, data: bytes, data_format: "api_pb2.DataFormat.ValueType") -> None:
        await self._wait_for_room()
        self._add([api_pb2.DataChunk(index=self.last_index + 1, data=data, data_format=data_format)])

    async def read(self, after: int, silence: float) -> AsyncIterator[api_pb2.DataChunk]:
        """Chunks after an index, as they come; ends when the stream is closed or silent for `silence` seconds."""
        self.readers += 1
        try:
            while True:
                generation = self.changed.generation
                for chunk in [chunk for chunk in self.chunks if chunk.index > after]:
                    after = chunk.index
                    self._mark_read(chunk)
                    yield chunk
                    self.sent_index = max(self.sent_index, after)
                    self.drained.notify()
                if self.changed.generation != generation:
                    continue
                if self.closed or not await self.changed.wait(generation, silence):
                    return
        finally:
            self.readers -= 1
            self.drained.notify()

    async def wait_sent(self, patience: float) -> None:
        """Until whoever reads has all that was written, there is no reader, or nothing has moved for `patience` seconds."""
        while self.readers and self.sent_index < self.last_index:
            if not await self.drained.wait(self.drained.generation, patience):
                return

    @property
    def is_whole(self) -> bool:
        """Whether a reader that begins now gets all of it."""
        return not self.last_index or (bool(self.chunks) and self.chunks[0].index == 1)

    def close(self) -> None:
        self.closed = True
        self.changed.notify()
        self.drained.notify()

    async def _wait_for_room(self) -> None:
        while self.unread_bytes > _ROOM and not self.closed:
            if not await self.drained.wait(self.drained.generation, _WRITE_LIMIT):
                msg = f"Nobody has read this call's stream for {_WRITE_LIMIT:g} s."
                raise DeadlineExceeded(msg)

    def _add(self, chunks: Sequence[api_pb2.DataChunk]) -> None:
        for chunk in chunks:
            if chunk.index <= self.last_index or self.closed:
                continue
            self.last_index = chunk.index
            self.unread_bytes += len(chunk.data) + _CHUNK_COST
            self.chunks.append(chunk)
        self.changed.notify()

    def _mark_read(self, chunk: api_pb2.DataChunk) -> None:
        if chunk.index <= self.read_index:
            return
        self.read_index = chunk.index
        self.unread_bytes -= len(chunk.data) + _CHUNK_COST
        while len(self.chunks) > _REPLAY and self.chunks[0].index < self.read_index:
            self.chunks.popleft()
        self.drained.notify()
