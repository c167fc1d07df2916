"""What store and worker both ask of the machine's file systems: to find what is below a folder in which other people's containers write,
without following any link, so that none leads out; and to bring what was written to the disk.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FOLDER_MODE = 0o755


@contextmanager
def folder(root: Path, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder of that path, as `open_folder` opens it, for the time of the block."""
    descriptor = open_folder(root, parts, make=make)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_folder(root: Path, parts: Sequence[str], *, make: bool = False) -> int:
    """A descriptor of the folder; with `make`, folders that are missing are made. The caller closes it.

    Raises FileNotFoundError, or NotADirectoryError for a link or a file on the way. `parts` holds no `..`.
    """
    descriptor = os.open(root, _FOLDER)
    for part in parts:
        parent = descriptor
        try:
            descriptor = _made(parent, part) if make else _entered(parent, part)
        finally:
            os.close(parent)
    return descriptor


def open_file(folder: int, name: str) -> int:
    """A descriptor for reading a regular file in an open folder. Raises OSError (EINVAL) for what is none: opening a pipe would wait for
    somebody, and opening a device does something. The caller closes it.
    """
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", name)
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK)
    finally:
        os.close(found)


def sync_filesystem(path: Path) -> None:
    """Return when everything written to the file system of this path is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


def _entered(parent: int, name: str) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link, on some kernels
            raise NotADirectoryError(errno.ENOTDIR, "Not a folder", name) from error
        raise


def _made(parent: int, name: str) -> int:
    try:
        os.mkdir(name, _FOLDER_MODE, dir_fd=parent)
    except FileExistsError:
        return _entered(parent, name)
    descriptor = _entered(parent, name)
    os.fchmod(descriptor, _FOLDER_MODE)  # whatever the umask
    return descriptor
