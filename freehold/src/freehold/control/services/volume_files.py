"""What is in volumes: sent as blobs or in blocks, listed, copied, removed, and fetched by links.

Containers read and write their volumes without asking anybody; all of this happens beside them, on the same files.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, BinaryIO

from freehold.config import Settings
from freehold.control.caller import Caller
from freehold.control.services.blobs import Blobs
from freehold.control.services.volumes import Volumes
from freehold.domain.errors import Conflict, InvalidRequest, Unauthenticated
from freehold.domain.ids import VolumeId
from freehold.domain.volumes import Entry, FoundFile, NewFile, block_ranges, check_files, file_parts, path_parts
from freehold.store.keyring import Keyring
from freehold.store.ports import Content
from freehold.store.ports import VolumeFiles as Files

_LINK_LIFE = timedelta(hours=24)
_OP = "volume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A range of a file, in bytes, and a link to each block of it."""

    size: int
    start: int
    length: int
    urls: Sequence[str]


class VolumeFiles:
    def __init__(self, *, volumes: Volumes, files: Files, content: Content, blobs: Blobs, keyring: Keyring, settings: Settings) -> None:
        self._volumes = volumes
        self._files = files
        self._content = content
        self._blobs = blobs
        self._keyring = keyring
        self._gateway_url = settings.gateway_url

    async def commit(self, volume_id: VolumeId, caller: Caller) -> None:
        """Returns when all that was written to the volume is on the disk. Others see it without that."""
        await self._check_inside(volume_id, caller)
        await self._files.sync(volume_id)

    async def reload(self, volume_id: VolumeId, caller: Caller) -> None:
        """What others have written is there already."""
        await self._check_inside(volume_id, caller)

    async def entries(self, volume_id: VolumeId, path: str, *, recursive: bool, limit: int) -> AsyncGenerator[Sequence[Entry], None]:
        """In batches. 0 stands for no limit."""
        await self._volumes.get(volume_id)
        told = 0
        async with aclosing(self._files.entries(volume_id, path_parts(path), recursive=recursive)) as batches:
            async for batch in batches:
                yield batch[: limit - told] if limit else batch
                told += len(batch)
                if limit and told >= limit:
                    return

    async def put(self, volume_id: VolumeId, files: Sequence[NewFile], *, overwrite: bool) -> None:
        """From content that was uploaded before."""
        await self._volumes.get(volume_id)
        check_files(files)
        self._blobs.touch({digest for file in files for digest in file.blocks})
        await self._files.put(volume_id, files, overwrite=overwrite)

    async def put_in_blocks(self, volume_id: VolumeId, files: Sequence[NewFile], *, overwrite: bool) -> Mapping[tuple[int, int], str]:
        """Write the files if all of their blocks are here; otherwise where to send those that are missing, by index of file and block."""
        await self._volumes.get(volume_id)
        check_files(files)
        if not overwrite:  # told before anything is sent
            await self._files.check_absent(volume_id, [file.path for file in files])
        places: dict[str, tuple[int, int]] = {}
        for number, file in enumerate(files):
            for index, digest in enumerate(file.blocks):
                places.setdefault(digest, (number, index))
        missing = await self._content.missing(list(places))
        if not missing:
            await self.put(volume_id, files, overwrite=overwrite)
        self._blobs.touch(places.keys() - set(missing))
        return {places[digest]: self._blobs.block_url(digest) for digest in missing}

    async def copy(self, volume_id: VolumeId, sources: Sequence[str], target: str, *, recursive: bool) -> None:
        await self._volumes.get(volume_id)
        if not sources:
            msg = "Name at least one file to copy."
            raise InvalidRequest(msg)
        paths = [file_parts(source) for source in sources]
        await self._files.copy(volume_id, paths, path_parts(target), into=target.endswith("/"), recursive=recursive)

    async def remove(self, volume_id: VolumeId, path: str, *, recursive: bool) -> None:
        await self._volumes.get(volume_id)
        await self._files.remove(volume_id, path_parts(path), recursive=recursive)

    async def read(self, volume_id: VolumeId, path: str, *, start: int, length: int) -> Reading:
        """Of `length` bytes from `start` on; 0 stands for all that follows."""
        await self._volumes.get(volume_id)
        found = await self._files.find(volume_id, file_parts(path))
        start = min(start, found.size)
        end = min(start + length, found.size) if length else found.size
        claims = {"op": _OP, "volume": volume_id, "path": list(found.path), "inode": found.inode, "size": found.size, "range": [start, end]}
        link = f"{self._gateway_url}/_freehold/volumes/{self._keyring.sign(claims, _LINK_LIFE)}"
        urls = [f"{link}/{index}" for index, _ in enumerate(block_ranges(start, end))]
        return Reading(size=found.size, start=start, length=end - start, urls=urls)

    async def open_block(self, token: str, index: int) -> tuple[BinaryIO, int, int]:
        """The file that a link stands for, where its block of that number begins, and how long that is. The caller closes the file."""
        claims = self._claims(token)
        block = next(islice(block_ranges(*claims["range"]), index, None), None)
        if block is None:
            msg = f"The file has no block {index} in this range."
            raise InvalidRequest(msg)
        volume = await self._volumes.get(VolumeId(claims["volume"]))
        found = FoundFile(path=tuple(claims["path"]), inode=claims["inode"], size=claims["size"])
        return await self._files.open_found(volume.id, found), *block

    async def _check_inside(self, volume_id: VolumeId, caller: Caller) -> None:
        await self._volumes.get(volume_id)
        if not caller.is_task:
            msg = "commit() and reload() are for containers that have the volume mounted. What is changed from outside is seen at once."
            raise Conflict(msg)

    def _claims(self, token: str) -> dict[str, Any]:
        claims = dict(self._keyring.verify(token))
        if claims.get("op") != _OP:
            msg = "This link is not one to a file of a volume."
            raise Unauthenticated(msg)
        return claims
