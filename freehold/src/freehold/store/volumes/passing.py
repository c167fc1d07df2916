"""Where files of volumes are before they appear and after they have gone: a folder on the same file system, which no container sees."""

import os
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from freehold import disk

log = structlog.get_logger(__name__)

_MOST_TRIES = 3  # at a folder in which a container goes on writing; what stays then goes with the next start


class Passing:
    """One folder, flat: everything in it has a name of its own, made here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> None:
        """Make the folder; delete what a killed engine left in it."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.clear(*(path.name for path in self._folder.iterdir()))

    def path(self, name: str = "") -> Path:
        """Of what has this name here, or of something new."""
        return self._folder / (name or secrets.token_hex(12))

    @contextmanager
    def drafts(self) -> Iterator[list[Path]]:
        """A list for paths of files that are being written: those that are still here at the end of the block are deleted."""
        drafts: list[Path] = []
        try:
            yield drafts
        finally:
            for draft in drafts:
                draft.unlink(missing_ok=True)

    def take(self, name: str, folder: int | None = None) -> str:
        """Move here what has this name in an open folder, whole and at once; how it is called here."""
        place = self.path()
        os.rename(name, place, src_dir_fd=folder)
        return place.name

    def clear(self, *names: str) -> None:
        """Delete these, and all that is in them. However deep that is: folders that are found in one are moved up here first."""
        waiting, tries = [*names], Counter[str]()
        while waiting:
            name = waiting.pop()
            tries[name] += 1
            try:
                found = self._clear_one(name)
            except OSError as error:  # somebody has a folder open, and writes into it
                if tries[name] >= _MOST_TRIES:
                    log.warning("volume_files_left", path=str(self._folder / name), reason=str(error))
                    continue
                found = [name]
            waiting.extend(found)

    def _clear_one(self, name: str) -> list[str]:
        """What must be deleted next; the same again if that was a folder with folders in it."""
        path = self._folder / name
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            return []
        found: list[str] = []
        with disk.folder(path, ()) as folder:
            for entry in list(os.scandir(folder)):
                if entry.is_dir(follow_symlinks=False):
                    found.append(self.take(entry.name, folder))
                else:
                    os.unlink(entry.name, dir_fd=folder)
        path.rmdir()
        return found
