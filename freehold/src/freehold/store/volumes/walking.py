"""What is in a volume, looked at without following links."""

import errno
import os
import stat
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from operator import attrgetter
from pathlib import Path

from freehold import disk
from freehold.domain.errors import AlreadyExists, InvalidRequest, NotFound
from freehold.domain.volumes import Entry, EntryKind, Parts

_BATCH = 1000  # entries told at a time
_KINDS: Mapping[int, EntryKind] = {
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFDIR: EntryKind.FOLDER,
    stat.S_IFLNK: EntryKind.LINK,
    stat.S_IFIFO: EntryKind.PIPE,
    stat.S_IFSOCK: EntryKind.SOCKET,
}

Found = tuple[str, os.stat_result]


@contextmanager
def in_words(path: Parts) -> Iterator[None]:
    """What the kernel says of this path in a volume, as a refusal that tells a person what to do."""
    name = repr("/".join(path) or "/")
    try:
        yield
    except FileNotFoundError as error:
        raise absent(path) from error
    except NotADirectoryError as error:
        msg = f"A part of {name} is no folder in the volume. Links are not followed."
        raise InvalidRequest(msg) from error
    except IsADirectoryError as error:
        msg = f"{name} is a folder in the volume, which no file can replace. Remove it first, or choose another name."
        raise InvalidRequest(msg) from error
    except FileExistsError as error:
        msg = f"{name} is in the volume already. Overwrite it with force (--force)."
        raise AlreadyExists(msg) from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        msg = f"{name} is no file that could be read: it is a link, a pipe or a device."
        raise InvalidRequest(msg) from error


def absent(path: Parts) -> NotFound:
    return NotFound(f"There is no {'/'.join(path) or '/'!r} in the volume. List what there is with: modal volume ls")


def look(root: Path, path: Parts) -> os.stat_result:
    """Of the thing itself, where it is a link. Raises OSError."""
    if not path:
        return root.lstat()
    with disk.folder(root, path[:-1]) as folder:
        return os.stat(path[-1], dir_fd=folder, follow_symlinks=False)


def kind_of(root: Path, path: Parts) -> EntryKind | None:
    """None if there is no such thing. Raises InvalidRequest if what is on the way to it is no folder."""
    try:
        with in_words(path):
            return _kind(look(root, path))
    except NotFound:
        return None


def entries(root: Path, path: Parts, *, recursive: bool) -> Generator[Sequence[Entry], None, None]:
    """In batches: of what is in a folder, or of the one thing of this path that is none."""
    with in_words(path):
        found = look(root, path)
    if not stat.S_ISDIR(found.st_mode):
        yield [_entry(path, found)]
        return
    for folder, batch in walk(root, path, recursive=recursive):
        if batch:
            yield [_entry((*folder, name), status) for name, status in batch]


def walk(root: Path, path: Parts, *, recursive: bool = True) -> Iterator[tuple[Parts, Sequence[Found]]]:
    """Each folder from this one on, with what is in it: at least once, in batches where that is much."""
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        below: list[Parts] = []
        for batch in _batches(root, folder):
            below += [(*folder, name) for name, found in batch if stat.S_ISDIR(found.st_mode)]
            yield folder, batch
        if recursive:
            waiting.extend(sorted(below, reverse=True))


def _batches(root: Path, path: Parts) -> Iterator[Sequence[Found]]:
    try:
        with disk.folder(root, path) as folder, os.scandir(folder) as found:
            names = [*islice(found, _BATCH)]
            yield _looked_at(names)
            while names := [*islice(found, _BATCH)]:
                yield _looked_at(names)
    except (FileNotFoundError, NotADirectoryError):  # it went meanwhile
        return


def _looked_at(names: "Iterable[os.DirEntry[str]]") -> list[Found]:
    """In order of name, without what has gone meanwhile."""
    found: list[Found] = []
    for entry in sorted(names, key=attrgetter("name")):
        with suppress(FileNotFoundError):
            found.append((entry.name, entry.stat(follow_symlinks=False)))
    return found


def _entry(path: Parts, found: os.stat_result) -> Entry:
    size = found.st_size if stat.S_ISREG(found.st_mode) else 0
    return Entry(path="/".join(path), kind=_kind(found), mtime=max(0, int(found.st_mtime)), size=size)


def _kind(found: os.stat_result) -> EntryKind:
    return _KINDS.get(stat.S_IFMT(found.st_mode), EntryKind.OTHER)
