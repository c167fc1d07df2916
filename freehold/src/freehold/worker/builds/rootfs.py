"""Paths and accounts of a mounted root filesystem, seen from outside: links are followed inside that root only."""

import os
from pathlib import Path

from freehold.domain.errors import InvalidRequest
from freehold.worker.runtimes.users import resolve_user

_MAX_LINKS = 40  # as many as the kernel follows


def resolve(root: Path, path: str) -> Path:
    """The place of a container's path under `root`, all links followed as the container would. What is missing is taken as it is."""
    waiting = path.split("/")[::-1]
    place: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part in ("", "."):
            continue
        if part == "..":
            place = place[:-1]
            continue
        here = root.joinpath(*place, part)
        if not here.is_symlink():
            place.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            msg = f"Too many symbolic links in {path[:200]!r}."
            raise InvalidRequest(msg)
        target = str(here.readlink())
        place = [] if target.startswith("/") else place
        waiting.extend(target.split("/")[::-1])
    return root.joinpath(*place)


def resolve_parent(root: Path, path: str) -> Path:
    """As `resolve`, but a link at the very end is not followed."""
    folder, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        return resolve(root, path)
    return resolve(root, folder) / name


def make_folders(root: Path, folder: Path, owner: tuple[int, int] = (0, 0)) -> None:
    """Make what is missing of a resolved folder, readable for all."""
    missing = [part for part in (folder, *folder.parents) if part.is_relative_to(root) and not part.is_dir()]
    for part in reversed(missing):
        if part.exists():
            msg = f"/{part.relative_to(root)} is a file in the image and cannot be a folder."
            raise InvalidRequest(msg)
        part.mkdir()
        part.chmod(0o755)
        os.chown(part, *owner)


def read_text(root: Path, path: str) -> str:
    """A small text file of the image; empty when there is none."""
    place = resolve(root, path)
    return place.read_text(errors="replace") if place.is_file() else ""


def owner_of(root: Path, text: str) -> tuple[int, int]:
    """User and group ids of `user[:group]`; empty is root. As in Docker, a number alone stands for both."""
    found = resolve_user(root, f"{text}:{text}" if text.isdecimal() else text)
    return found.uid, found.gid
