"""Blobs: links to send and fetch what is too large for a message, and the record of what is used.

The content lies in the blob folder under its digest, and so do the files of mounts. Sizes and last uses are gathered here and
written by `flush` in groups: they decide only what may be deleted when the folder is full.
"""

import base64
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from anyio import to_thread

from freehold.config import Settings
from freehold.domain.blobs import StoredContent, blob_id_of, digest_of
from freehold.domain.clock import Clock
from freehold.domain.errors import Conflict, InvalidRequest, NotFound, Unauthenticated
from freehold.domain.ids import BlobId, new_blob_id
from freehold.domain.volumes import BLOCK_SIZE
from freehold.store.keyring import Keyring
from freehold.store.ports import Content, Store

_LINK_LIFE = timedelta(hours=24)
_SHA256_LENGTH = 32
_MD5_LENGTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    blob_id: BlobId
    url: str


class Blobs:
    def __init__(self, *, store: Store, content: Content, keyring: Keyring, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._content = content
        self._keyring = keyring
        self._clock = clock
        self._gateway_url = settings.gateway_url
        self._max_bytes = settings.max_blob_bytes
        self._new: dict[BlobId, tuple[int, datetime]] = {}
        self._used: set[BlobId] = set()

    def create(self, *, size: int, sha256: str, md5: str) -> Upload:
        """A place to send `size` bytes to; digests in base64. Without a SHA-256 the id is an alias until the content is here."""
        if not 0 <= size <= self._max_bytes:
            msg = f"A blob of {size} bytes is larger than the {self._max_bytes} that max_blob_bytes allows."
            raise InvalidRequest(msg)
        digest = _hex(sha256, _SHA256_LENGTH)
        blob_id = blob_id_of(digest) if digest else new_blob_id()
        claims: dict[str, Any] = {"op": "put", "blob": blob_id, "size": size}
        if digest is None:
            claims["md5"] = _hex(md5, _MD5_LENGTH)
        return Upload(blob_id=blob_id, url=self._link(claims))

    def block_url(self, digest: str) -> str:
        """A place to send one block of a volume's file to, of whatever length it has without zeros at its end."""
        return self._link({"op": "put", "blob": blob_id_of(digest), "size": BLOCK_SIZE, "most": True})

    async def receive(self, token: str, chunks: AsyncIterator[bytes], content_md5: str | None) -> str:
        """Store what an upload link was made for; the MD5 of it in hex."""
        claims = self._claims(token, "put")
        blob_id = BlobId(claims["blob"])
        stored = await self._content.write(
            chunks,
            digest=digest_of(blob_id),
            size=claims["size"],
            md5=_hex(content_md5 or "", _MD5_LENGTH) or claims.get("md5"),
            is_exact=not claims.get("most"),
        )
        await self._keep(blob_id, stored)
        return stored.md5

    async def download_url(self, blob_id: BlobId) -> str:
        digest = await self._digest(blob_id)
        if await self._content.missing([digest]):
            raise _gone(blob_id)
        self.touch([digest])
        return self._link({"op": "get", "blob": blob_id_of(digest)})

    async def open_for_read(self, token: str) -> Path:
        """The file that a download link stands for."""
        return await self._path(BlobId(self._claims(token, "get")["blob"]))

    async def read(self, blob_id: BlobId) -> bytes:
        path = await self._path(blob_id)
        return await to_thread.run_sync(path.read_bytes)

    async def put(self, data: bytes) -> BlobId:
        digest = await self._content.put_bytes(data)
        self.record(digest, len(data))
        return blob_id_of(digest)

    async def holds(self, blob_id: BlobId, digest: str) -> bool:
        """Whether this blob is here and has this content."""
        return await self._digest(blob_id) == digest and not await self._content.missing([digest])

    def record(self, digest: str, size: int) -> None:
        self._new[blob_id_of(digest)] = (size, self._clock.now())

    def touch(self, digests: Iterable[str]) -> None:
        self._used.update(map(blob_id_of, digests))

    async def flush(self) -> None:
        """Write what was gathered since the last time."""
        new, used = dict(self._new), set(self._used)
        async with self._store.transaction() as tx:
            for blob_id, (size, at) in new.items():
                await tx.blobs.put(blob_id, size, at)
            await tx.blobs.touch(sorted(used), self._clock.now())
        self._new = {blob_id: entry for blob_id, entry in self._new.items() if entry != new.get(blob_id)}
        self._used -= used

    async def adopt(self) -> None:
        """Record what lies in the folder but not in the store: an engine was killed before it could."""
        inventory = await self._content.inventory()
        async with self._store.transaction() as tx:
            known = {blob_id for blob_id, _, _ in await tx.blobs.least_recently_used(_ALL)}
            for digest, size, written_at in inventory:
                if blob_id_of(digest) not in known:
                    await tx.blobs.put(blob_id_of(digest), size, written_at)

    async def delete(self, blob_ids: Sequence[BlobId]) -> None:
        """Those that nobody used since they were chosen."""
        unused = [blob_id for blob_id in blob_ids if blob_id not in self._used and blob_id not in self._new]
        for blob_id in unused:
            await self._content.delete(await self._digest(blob_id))
        async with self._store.transaction() as tx:
            await tx.blobs.delete(unused)

    async def _keep(self, blob_id: BlobId, stored: StoredContent) -> None:
        self.record(stored.digest, stored.size)
        if digest_of(blob_id) is None:
            await self._name(blob_id, blob_id_of(stored.digest))

    async def _name(self, alias: BlobId, blob_id: BlobId) -> None:
        """Once: what was read under an id is what will be read."""
        async with self._store.transaction() as tx:
            if await tx.blobs.find_alias(alias) not in (None, blob_id):
                msg = "Other content was sent to this link before. Ask for a new one."
                raise Conflict(msg)
            await tx.blobs.put_alias(alias, blob_id)

    async def _path(self, blob_id: BlobId) -> Path:
        digest = await self._digest(blob_id)
        path = await to_thread.run_sync(self._content.path_of, digest)
        self.touch([digest])
        return path

    async def _digest(self, blob_id: BlobId) -> str:
        digest = digest_of(blob_id)
        if digest is not None:
            return digest
        async with self._store.transaction() as tx:
            alias = await tx.blobs.find_alias(blob_id)
        digest = digest_of(alias) if alias else None
        if digest is None:
            raise _gone(blob_id)
        return digest

    def _link(self, claims: dict[str, Any]) -> str:
        return f"{self._gateway_url}/_freehold/blobs/{self._keyring.sign(claims, _LINK_LIFE)}"

    def _claims(self, token: str, op: str) -> dict[str, Any]:
        claims = dict(self._keyring.verify(token))
        if claims.get("op") != op:
            msg = "This link is not for that: one kind is for sending, the other for fetching."
            raise Unauthenticated(msg)
        return claims


_ALL = 2**31 - 1


def _gone(blob_id: str) -> NotFound:
    return NotFound(f"The blob {blob_id[:80]!r} is not here (any more): results and uploads are kept for a time. Run the call again.")


def _hex(text: str, length: int) -> str | None:
    """A digest in base64 as hex; None if there is none."""
    if not text:
        return None
    try:
        digest = base64.b64decode(text, validate=True)
    except ValueError:  # binascii.Error too
        digest = b""
    if len(digest) != length:
        msg = f"Not a digest of {length} bytes in base64: {text[:80]!r}."
        raise InvalidRequest(msg)
    return digest.hex()
