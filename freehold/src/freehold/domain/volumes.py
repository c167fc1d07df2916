"""Volumes: folders that outlive containers and are seen by all that mount them. Paths in them are what clients and containers name."""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from itertools import combinations
from pathlib import PurePosixPath

from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import VolumeId

FOLDER = "volumes"  # in the engine's home
BLOCK_SIZE = 8 * 1024 * 1024  # in which clients send and fetch the content of a file
# An ephemeral volume goes when its client has been silent for so long; a client speaks every five minutes.
EPHEMERAL_LIFE = timedelta(minutes=15)

_LONGEST_PATH = 4096  # bytes
_LONGEST_NAME = 255  # bytes, of one part of a path: what file systems take
_NOT_OVER = ("/", "/root", "/tmp")  # noqa: S108 — paths in containers
_NOT_BELOW = ("/proc", "/sys", "/dev", "/pkg", "/__freehold", "/__modal")

Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """`version` is how its clients send files: 1 as blobs, 2 in blocks. What is kept is the same."""

    id: VolumeId
    environment: str
    name: str  # empty for ephemeral ones
    version: int
    created_at: datetime

    @property
    def is_ephemeral(self) -> bool:
        return not self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """A volume, or a folder in it, as a function's containers see it."""

    volume_id: VolumeId
    path: str  # in the container
    sub_path: Parts = ()
    read_only: bool = False


class EntryKind(IntEnum):
    """Numbered as on the wire (`FileEntry.FileType`)."""

    OTHER = 0
    FILE = 1
    FOLDER = 2
    LINK = 3
    PIPE = 4
    SOCKET = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What has a name in a volume. `path` counts from the volume's root and begins with no slash; `size` is in bytes."""

    path: str
    kind: EntryKind
    mtime: int  # seconds since the epoch
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A file to be written: digests of its blocks, each of BLOCK_SIZE less zeros at its end, and how long it is. Without a size it is one
    block, of any length.
    """

    path: Parts
    blocks: tuple[str, ...]
    mode: int = 0o644
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A regular file as it was when somebody looked; `inode` tells it from another that has taken its name since."""

    path: Parts
    inode: int
    size: int


def path_parts(path: str) -> Parts:
    """A path in a volume, in its parts; empty for its root. Refuses `..`, NUL and what is too long: nothing may lead out of a volume."""
    if "\0" in path or len(path.encode()) > _LONGEST_PATH:
        msg = f"A path in a volume may not contain NUL, or be longer than {_LONGEST_PATH} bytes: {path[:200]!r}."
        raise InvalidRequest(msg)
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if ".." in parts:
        msg = f"A path in a volume may not contain '..': {path[:200]!r}."
        raise InvalidRequest(msg)
    if any(len(part.encode()) > _LONGEST_NAME for part in parts):
        msg = f"No part of a path may be longer than {_LONGEST_NAME} bytes: {path[:200]!r}."
        raise InvalidRequest(msg)
    return parts


def file_parts(path: str) -> Parts:
    """The same for a path that must name something in the volume, not its root."""
    parts = path_parts(path)
    if not parts:
        msg = f"{path[:200]!r} is the volume itself. Name a file in it."
        raise InvalidRequest(msg)
    return parts


def new_file(path: str, *, blocks: Sequence[str], mode: int, size: int | None = None) -> NewFile:
    """Checked: as many blocks as the size takes, a path to a file, and no bits in `mode` but permissions."""
    needed = 1 if size is None else -(-size // BLOCK_SIZE)
    if len(blocks) != needed:
        msg = f"A file of {size} bytes has {needed} blocks of {BLOCK_SIZE} bytes, not {len(blocks)}: {path[:200]!r}."
        raise InvalidRequest(msg)
    return NewFile(path=file_parts(path), blocks=tuple(blocks), mode=mode & 0o777, size=size)


def check_files(files: Sequence[NewFile]) -> None:
    """Refuses two files of one path in one upload, of which nobody could say which stays; and a file that another has for its folder."""
    seen: set[Parts] = set()
    for file in files:
        if file.path in seen:
            msg = f"Two files of one upload have the path {'/'.join(file.path)!r}. Leave one of them out."
            raise InvalidRequest(msg)
        seen.add(file.path)
    for file in files:
        if above := next((file.path[:end] for end in range(1, len(file.path)) if file.path[:end] in seen), None):
            msg = f"One upload has {'/'.join(above)!r} as a file and, in {'/'.join(file.path)!r}, as a folder. Leave one of them out."
            raise InvalidRequest(msg)


def check_mounts(mounts: Sequence[VolumeMount]) -> None:
    """Refuses paths in a container at which no volume can be, and two volumes of which one would be inside the other."""
    for mount in mounts:
        _check_target(mount.path)
    for one, other in combinations([PurePosixPath(mount.path) for mount in mounts], 2):
        if one.is_relative_to(other) or other.is_relative_to(one):
            # The place of the inner one would be made in the outer one, where other containers can put a link in its way.
            msg = f"Volumes cannot be mounted inside each other: {one} and {other}. Mount them side by side."
            raise InvalidRequest(msg)


def _check_target(path: str) -> None:
    if "\0" in path or len(path) > _LONGEST_PATH or posixpath.normpath(f"/{path.lstrip('/')}") != path:
        msg = f"A volume is mounted at an absolute path without '..' and '//': {path[:200]!r} is none."
        raise InvalidRequest(msg)
    if path in _NOT_OVER or any(PurePosixPath(path).is_relative_to(taken) for taken in _NOT_BELOW):
        msg = f"No volume can be mounted at {path[:200]!r}: what is there already is needed. Choose a folder of its own, like /data."
        raise InvalidRequest(msg)


def block_ranges(start: int, end: int) -> Iterator[tuple[int, int]]:
    """First byte and length of what each block has of the bytes from `start` to `end`."""
    while start < end:
        stop = min(end, (start // BLOCK_SIZE + 1) * BLOCK_SIZE)
        yield start, stop - start
        start = stop
