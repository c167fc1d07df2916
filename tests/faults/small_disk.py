"""A home on a disk of its own that can be filled: an ext4 in a file, mounted by a loop device."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

_MIB = 1024 * 1024
_RESERVE = "ballast"  # a file that takes all the room there is


@dataclass(frozen=True)
class SmallDisk:
    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    def fill(self) -> None:
        """Until not one more block is to be had."""
        with FileIO(self.root / _RESERVE, "ab") as ballast:
            for size in (_MIB, 4096, 1):
                _write_until_refused(ballast, b"\1" * size)
            os.fsync(ballast.fileno())

    def free(self) -> None:
        (self.root / _RESERVE).unlink(missing_ok=True)


def _write_until_refused(file: FileIO, data: bytes) -> None:
    try:
        while True:
            file.write(data)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


@contextmanager
def small_disk(folder: Path, *, mib: int, images_of: Path) -> Iterator[SmallDisk]:
    """What another home has built is shown read-only in its place: that is large, and not what is written to."""
    disk, root = folder / "disk", folder / "root"
    root.mkdir(parents=True)
    with disk.open("wb") as file:
        file.truncate(mib * _MIB)
    _run("mkfs.ext4", "-q", "-m", "0", disk)
    _run("mount", "-o", "loop", disk, root)
    try:
        small = SmallDisk(root)
        small.home.mkdir(mode=0o700)
        for name in ("layers", "bundles"):
            (small.home / name).mkdir()
            _run("mount", "--bind", images_of / name, small.home / name)
        yield small
    finally:
        _run("umount", "--recursive", "--lazy", root)
        shutil.rmtree(folder)


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=60)
