"""COPY and ADD: from a folder (the context, or another image's root) into a mounted root, without ever leaving either."""

import glob
import os
import posixpath
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from freehold.domain.dockerfile import Copy
from freehold.domain.errors import InvalidRequest
from freehold.worker.builds.rootfs import make_folders, owner_of, resolve, resolve_parent
from freehold.worker.builds.unpacking import is_archive, unpack_archive


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ownership:
    """What copied files belong to and, with --chmod, their mode."""

    ids: tuple[int, int]
    mode: int | None

    def apply(self, place: Path, mode: int) -> None:
        os.chown(place, *self.ids, follow_symlinks=False)
        if not place.is_symlink():
            place.chmod(mode if self.mode is None else self.mode)


def copy_into(root: Path, workdir: str, step: Copy, source: Path) -> None:
    """Carry out a COPY or ADD whose patterns are relative to `source`."""
    found = [match for pattern in step.patterns for match in _matches(source, pattern)]
    destination = posixpath.join(workdir or "/", step.destination)
    into_folder = step.destination.endswith(("/", "/.")) or step.destination == "." or len(found) > 1 or resolve(root, destination).is_dir()
    ownership = _Ownership(ids=owner_of(root, step.chown), mode=_mode(step.chmod))
    for name, match in found:
        if match.is_dir():
            _copy_folder(match, root, destination, ownership)
        elif step.unpacks and is_archive(match):
            make_folders(root, resolve(root, destination))
            unpack_archive(match, root, destination)
        else:
            _copy_file(match, root, f"{destination}/{name}" if into_folder else destination, ownership)


def _matches(source: Path, pattern: str) -> list[tuple[str, Path]]:
    """Names as asked for, and the files behind them: a link that is named itself is followed."""
    names = sorted(glob.glob(pattern, root_dir=source, include_hidden=True)) if glob.has_magic(pattern) else [pattern]  # noqa: PTH207 — pathlib's cannot match hidden names only with a dot
    places = [resolve(source, name) for name in names]
    if not places or not all(place.exists() for place in places):
        msg = f"COPY found nothing for {pattern[:200]!r} in what it copies from."
        raise InvalidRequest(msg)
    return [(posixpath.basename(name.rstrip("/")), place) for name, place in zip(names, places, strict=True)]


def _copy_folder(folder: Path, root: Path, destination: str, ownership: _Ownership) -> None:
    """The content of a folder, merged into what is there."""
    make_folders(root, resolve(root, destination), ownership.ids)
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        target = f"{destination}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            is_new = not resolve(root, target).is_dir()
            _copy_folder(Path(entry.path), root, target, ownership)
            if is_new:
                ownership.apply(resolve(root, target), stat.S_IMODE(entry.stat().st_mode))
        else:
            _copy_file(Path(entry.path), root, target, ownership)


def _copy_file(file: Path, root: Path, destination: str, ownership: _Ownership) -> None:
    place = resolve_parent(root, destination)
    make_folders(root, place.parent, ownership.ids)
    if place.is_dir() and not place.is_symlink():
        msg = f"COPY cannot put a file in the place of the folder {destination!r}."
        raise InvalidRequest(msg)
    place.unlink(missing_ok=True)
    if file.is_symlink():
        place.symlink_to(file.readlink())
    elif file.is_file():
        shutil.copy2(file, place)
    else:
        return  # sockets, devices: nothing that an image keeps
    ownership.apply(place, stat.S_IMODE(file.lstat().st_mode))


def _mode(text: str) -> int | None:
    if not text:
        return None
    if not text.isdigit() or set(text) & {"8", "9"}:
        msg = f"--chmod takes an octal mode such as 755, not {text[:50]!r}."
        raise InvalidRequest(msg)
    return int(text, 8)
