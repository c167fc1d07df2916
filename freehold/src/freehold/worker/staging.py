"""Folders for what is being made. All are in one place, which the snapshotter empties when an engine starts after a crash."""

import tempfile
from pathlib import Path

_FOLDER = "staging"


def fresh_folder(home: Path) -> Path:
    """A new, empty folder on the file system of the engine's home, so that a rename finishes what is made in it."""
    parent = home / _FOLDER
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=parent))
