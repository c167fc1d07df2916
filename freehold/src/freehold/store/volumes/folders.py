"""Volumes as folders that containers have mounted. What containers put there (links, pipes, devices) is never followed and never opened."""

import os
import stat
from collections.abc import AsyncGenerator, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from anyio import CapacityLimiter, to_thread

from freehold import disk
from freehold.domain.errors import AlreadyExists, Conflict, InvalidRequest, NotFound
from freehold.domain.ids import VolumeId, is_id
from freehold.domain.volumes import BLOCK_SIZE, Entry, EntryKind, FoundFile, NewFile, Parts
from freehold.store import missing
from freehold.store.ports import Content
from freehold.store.volumes.copying import copy_bytes, copy_out, place
from freehold.store.volumes.passing import Passing
from freehold.store.volumes.walking import absent, entries, in_words, kind_of, walk

_MODE = 0o755
_SYNCS_AT_ONCE = 2  # those that wait for a slow disk must not take the threads of all others


class VolumeFolders:
    """Implements `store.ports.VolumeFiles`: `<folder>/<volume id>` for each volume, and `<folder>/passing`."""

    def __init__(self, folder: Path, content: Content) -> None:
        self._folder = folder
        self._passing = Passing(folder / "passing")
        self._content = content
        self._syncs = CapacityLimiter(_SYNCS_AT_ONCE)

    async def open(self) -> None:
        await to_thread.run_sync(self._passing.open)

    async def create(self, volume_id: VolumeId) -> None:
        await to_thread.run_sync(self._create, volume_id)

    async def delete(self, volume_id: VolumeId) -> None:
        await to_thread.run_sync(self._delete, volume_id)

    async def sync(self, volume_id: VolumeId) -> None:
        await to_thread.run_sync(self._sync, volume_id, limiter=self._syncs)

    async def entries(self, volume_id: VolumeId, path: Parts, *, recursive: bool) -> AsyncGenerator[Sequence[Entry], None]:
        with closing(entries(self._root(volume_id), path, recursive=recursive)) as batches:
            while batch := await to_thread.run_sync(next, batches, None):
                yield batch

    async def put(self, volume_id: VolumeId, files: Sequence[NewFile], *, overwrite: bool) -> None:
        await to_thread.run_sync(self._put, volume_id, files, overwrite)
        await self.sync(volume_id)

    async def check_absent(self, volume_id: VolumeId, paths: Sequence[Parts]) -> None:
        await to_thread.run_sync(self._check_absent, volume_id, paths)

    async def copy(self, volume_id: VolumeId, sources: Sequence[Parts], target: Parts, *, into: bool, recursive: bool) -> None:
        await to_thread.run_sync(self._copy, volume_id, sources, target, into, recursive)
        await self.sync(volume_id)

    async def remove(self, volume_id: VolumeId, path: Parts, *, recursive: bool) -> None:
        await to_thread.run_sync(self._remove, volume_id, path, recursive)

    async def find(self, volume_id: VolumeId, path: Parts) -> FoundFile:
        return await to_thread.run_sync(self._find, volume_id, path)

    async def open_found(self, volume_id: VolumeId, found: FoundFile) -> BinaryIO:
        return await to_thread.run_sync(self._open_found, volume_id, found)

    def _root(self, volume_id: VolumeId) -> Path:
        if not is_id(volume_id, "vo"):  # which keeps `..` and `/` out of the path
            raise missing.volume(volume_id)
        return self._folder / volume_id

    def _create(self, volume_id: VolumeId) -> None:
        root = self._root(volume_id)
        root.mkdir(exist_ok=True)
        root.chmod(_MODE)

    def _delete(self, volume_id: VolumeId) -> None:
        """Containers that have it mounted see it empty."""
        if self._root(volume_id).exists():
            self._passing.clear(self._passing.take(str(self._root(volume_id))))

    def _sync(self, volume_id: VolumeId) -> None:
        with in_words(()):
            disk.sync_filesystem(self._root(volume_id))

    def _put(self, volume_id: VolumeId, files: Sequence[NewFile], overwrite: bool) -> None:
        """All are written before the first of them appears."""
        if overwrite:
            self._check_no_folders(volume_id, [file.path for file in files])
        else:
            self._check_absent(volume_id, [file.path for file in files])
        with self._passing.drafts() as drafts:
            for file in files:
                drafts.append(self._passing.path())
                self._write(file, drafts[-1])
            for file, draft in zip(files, drafts, strict=True):
                with in_words(file.path), disk.folder(self._root(volume_id), file.path[:-1], make=True) as folder:
                    place(draft, folder, file.path[-1], overwrite=overwrite)

    def _write(self, file: NewFile, draft: Path) -> None:
        with draft.open("xb", buffering=0) as target:
            for index, digest in enumerate(file.blocks):
                with self._content.path_of(digest).open("rb") as source:
                    size = os.fstat(source.fileno()).st_size
                    if file.size is not None and size > min(BLOCK_SIZE, file.size - index * BLOCK_SIZE):
                        msg = f"Block {index} of {'/'.join(file.path)!r} is longer than what the file has there. Try again."
                        raise InvalidRequest(msg)
                    target.seek(index * BLOCK_SIZE)
                    copy_bytes(source.fileno(), target.fileno(), size)
            if file.size is not None:
                target.truncate(file.size)
            os.fchmod(target.fileno(), file.mode)

    def _check_absent(self, volume_id: VolumeId, paths: Sequence[Parts]) -> None:
        there = [path for path in paths if kind_of(self._root(volume_id), path) is not None]
        if there:
            names = ", ".join("/".join(path) for path in there[:3])
            msg = f"{len(there)} of {len(paths)} files are in the volume already, among them {names}. Overwrite them with force (--force)."
            raise AlreadyExists(msg)

    def _check_no_folders(self, volume_id: VolumeId, paths: Sequence[Parts]) -> None:
        """Told before any file appears, so that no upload is left half done for it."""
        for path in paths:
            if kind_of(self._root(volume_id), path) is EntryKind.FOLDER:
                with in_words(path):
                    raise IsADirectoryError

    def _copy(self, volume_id: VolumeId, sources: Sequence[Parts], target: Parts, into: bool, recursive: bool) -> None:
        root = self._root(volume_id)
        is_folder = kind_of(root, target) is EntryKind.FOLDER
        if not is_folder and (into or len(sources) > 1):
            msg = f"{'/'.join(target)!r} is no folder in the volume, so nothing can be copied into it."
            raise NotFound(msg)
        for source in sources:
            self._copy_one(root, source, (*target, source[-1]) if is_folder else target, recursive=recursive)

    def _copy_one(self, root: Path, source: Parts, target: Parts, *, recursive: bool) -> None:
        kind = kind_of(root, source)
        if kind is None:
            raise absent(source)
        if kind is not EntryKind.FOLDER:
            self._copy_file(root, source, target)
            return
        if not recursive:
            raise _folder_refused(source)
        if target[: len(source)] == source:
            msg = f"{'/'.join(source)!r} cannot be copied into itself."
            raise InvalidRequest(msg)
        self._copy_folder(root, source, target)

    def _copy_folder(self, root: Path, source: Parts, target: Parts) -> None:
        """With the links that are in it, as they are; without pipes and devices."""
        for folder, found in walk(root, source):
            place_of_it = (*target, *folder[len(source) :])
            with in_words(place_of_it), disk.folder(root, place_of_it, make=True):
                pass
            for name, status in found:
                if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                    self._copy_file(root, (*folder, name), (*place_of_it, name))

    def _copy_file(self, root: Path, source: Parts, target: Parts) -> None:
        with self._passing.drafts() as drafts:
            drafts.append(self._passing.path())
            with in_words(source), disk.folder(root, source[:-1]) as folder:
                copy_out(folder, source[-1], drafts[0])
            with in_words(target), disk.folder(root, target[:-1]) as folder:
                place(drafts[0], folder, target[-1], overwrite=True)

    def _remove(self, volume_id: VolumeId, path: Parts, recursive: bool) -> None:
        root = self._root(volume_id)
        if kind_of(root, path) is EntryKind.FOLDER and not recursive:
            raise _folder_refused(path)
        with in_words(path), disk.folder(root, path[:-1]) as folder:
            names = [path[-1]] if path else [entry.name for entry in os.scandir(folder)]
            self._passing.clear(*[self._passing.take(name, folder) for name in names])

    def _find(self, volume_id: VolumeId, path: Parts) -> FoundFile:
        with _open(self._root(volume_id), path) as file:
            found = os.fstat(file.fileno())
        return FoundFile(path=path, inode=found.st_ino, size=found.st_size)

    def _open_found(self, volume_id: VolumeId, found: FoundFile) -> BinaryIO:
        file = _open(self._root(volume_id), found.path)
        now = os.fstat(file.fileno())
        if now.st_ino != found.inode or now.st_size < found.size:
            file.close()
            msg = f"{'/'.join(found.path)!r} was replaced while it was read. Read it again."
            raise Conflict(msg)
        return file


def _open(root: Path, path: Parts) -> BinaryIO:
    if kind_of(root, path) is EntryKind.FOLDER:
        msg = f"{'/'.join(path) or '/'!r} is a folder. Name a file in it."
        raise InvalidRequest(msg)
    with in_words(path), disk.folder(root, path[:-1]) as folder:
        return os.fdopen(disk.open_file(folder, path[-1]), "rb", buffering=0)


def _folder_refused(path: Parts) -> InvalidRequest:
    return InvalidRequest(f"{'/'.join(path) or '/'!r} is a folder: say that all in it is meant (recursive, -r).")
