"""Content in a folder, by digest: `ab/cdef…`. A file there is whole and right; what is being written lies in `incoming` first."""

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

from anyio import CancelScope, to_thread

from freehold.domain.blobs import StoredContent
from freehold.domain.errors import InvalidRequest, NotFound
from freehold.domain.files import checked_digest

_PIECE = 1024 * 1024  # Bytes gathered before a trip to a thread: a trip costs as much as hashing some 50 kB.
_SMALL_PIECE = 256 * 1024  # of the blocks of a volume's files: clients send 128 of them at once


class FolderBlobs:
    """The blob folder of one engine: `store.ports.Content`, and the worker's `ContentStore`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"

    async def open(self) -> None:
        """Make the folder; remove what a killed engine left half-written."""
        await to_thread.run_sync(self._sweep)

    def has(self, digest: str) -> bool:
        return self._place(digest).is_file()

    async def missing(self, digests: Sequence[str]) -> Sequence[str]:
        return await to_thread.run_sync(lambda: [digest for digest in digests if not self.has(digest)])

    def path_of(self, digest: str) -> Path:
        place = self._place(digest)
        if not place.is_file():
            msg = f"The content {digest} is not stored here (any more). Deploy or call again to upload it."
            raise NotFound(msg)
        return place

    async def put_bytes(self, data: bytes, expected: str | None = None) -> str:
        return await to_thread.run_sync(self._put, data, expected)

    async def write(
        self, chunks: AsyncIterator[bytes], *, digest: str | None, size: int, md5: str | None = None, is_exact: bool = True
    ) -> StoredContent:
        incoming = await to_thread.run_sync(_Incoming, self._incoming)
        try:
            async with aclosing(_pieces(chunks, _PIECE if is_exact else _SMALL_PIECE)) as pieces:
                async for piece in pieces:
                    _check_not_larger(incoming.size + len(piece), size)
                    await to_thread.run_sync(incoming.add, piece)
            return await to_thread.run_sync(self._keep_if, incoming, digest, size if is_exact else None, md5)
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(incoming.close)

    async def delete(self, digest: str) -> None:
        await to_thread.run_sync(lambda: self._place(digest).unlink(missing_ok=True))

    async def inventory(self) -> Sequence[tuple[str, int, datetime]]:
        return await to_thread.run_sync(lambda: list(self._walk()))

    def _put(self, data: bytes, expected: str | None) -> str:
        digest = hashlib.sha256(data).hexdigest()
        if expected is not None and digest != expected:
            msg = f"The content has the digest {digest}, not {expected} as announced. Did the file change meanwhile? Try again."
            raise InvalidRequest(msg)
        if self.has(digest):
            return digest
        incoming = _Incoming(self._incoming)
        try:
            incoming.add(data)
            incoming.move_to(self._place(digest))
        finally:
            incoming.close()
        return digest

    def _keep_if(self, incoming: "_Incoming", digest: str | None, size: int | None, md5: str | None) -> StoredContent:
        content = incoming.content()
        if size is not None and content.size != size:
            msg = f"The upload ended after {content.size} of {size} bytes. Try again."
            raise InvalidRequest(msg)
        if (digest is not None and content.digest != digest) or (md5 is not None and content.md5 != md5):
            # The client looks for S3's sentence, to tell its user that a file changed while it was read.
            msg = "The content is not what was announced. The Content-MD5 you specified did not match what we received."
            raise InvalidRequest(msg)
        incoming.move_to(self._place(content.digest))
        return content

    def _place(self, digest: str) -> Path:
        checked_digest(digest)  # also what keeps `..` and `/` out of paths
        return self._folder / digest[:2] / digest[2:]

    def _sweep(self) -> None:
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir(parents=True)

    def _walk(self) -> Iterator[tuple[str, int, datetime]]:
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            stat = path.stat()
            yield path.parent.name + path.name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC)


class _Incoming:
    """A file being written, hashed on the way. `close` removes it unless it was moved to its place.

    A cancelled request leaves its thread running: the lock keeps that thread from writing to a descriptor closed meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        descriptor, name = tempfile.mkstemp(dir=folder)
        self._path = Path(name)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._lock = threading.Lock()
        self.size = 0

    def add(self, piece: bytes) -> None:
        with self._lock:
            self._file.write(piece)
        self._sha256.update(piece)
        self._md5.update(piece)
        self.size += len(piece)

    def content(self) -> StoredContent:
        return StoredContent(digest=self._sha256.hexdigest(), md5=self._md5.hexdigest(), size=self.size)

    def move_to(self, place: Path) -> None:
        """On the disk first: after a power cut, a name that is a digest must not stand for other content."""
        os.fdatasync(self._file.fileno())
        place.parent.mkdir(exist_ok=True)
        self._path.rename(place)

    def close(self) -> None:
        with self._lock:
            self._file.close()
        self._path.unlink(missing_ok=True)


def _check_not_larger(received: int, announced: int) -> None:
    if received > announced:
        msg = f"The upload is larger than the {announced} bytes that were announced. Try again."
        raise InvalidRequest(msg)


async def _pieces(chunks: AsyncIterator[bytes], size: int) -> AsyncGenerator[bytes, None]:
    gathered = bytearray()
    async for chunk in chunks:
        gathered += chunk
        if len(gathered) >= size:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)
