"""Files of volumes, from one place to another: written out of sight, then put where they belong, whole and at once."""

import os
import stat
from pathlib import Path

from freehold import disk

_PIECE = 1 << 30  # bytes that one system call copies at most


def copy_bytes(source: int, target: int, size: int) -> None:
    """Up to `size` bytes between two open files, each from where it stands. File systems that can share blocks do."""
    left = size
    try:
        while left and (done := os.copy_file_range(source, target, min(left, _PIECE))):
            left -= done
    except OSError:  # between two file systems, or of one that cannot
        while left and (done := os.sendfile(target, source, None, min(left, _PIECE))):
            left -= done


def copy_out(folder: int, name: str, draft: Path) -> None:
    """A copy of a file, or of a link as it is, at a path that is free. Raises OSError (EINVAL) for what is neither."""
    if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        draft.symlink_to(os.readlink(name, dir_fd=folder))
        return
    with os.fdopen(disk.open_file(folder, name), "rb", buffering=0) as source, draft.open("xb", buffering=0) as target:
        found = os.fstat(source.fileno())
        copy_bytes(source.fileno(), target.fileno(), found.st_size)
        os.fchmod(target.fileno(), found.st_mode & 0o777)


def place(draft: Path, folder: int, name: str, *, overwrite: bool) -> None:
    """Give a finished file its name in an open folder. Raises FileExistsError if that is taken, or IsADirectoryError if a folder has it."""
    if overwrite:
        os.rename(draft, name, dst_dir_fd=folder)
    else:
        os.link(draft, name, dst_dir_fd=folder, follow_symlinks=False)
