"""Where the engine's unix sockets lie, which containers connect to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """The kernel takes 107 bytes for the path of a socket, and homes may be deep: the folder, made where it is missing, goes by its
    descriptor. What an earlier engine left at `path` is gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def open_to_containers(path: Path) -> None:
    """They may run as any user; identity is the task token."""
    path.chmod(0o666)
