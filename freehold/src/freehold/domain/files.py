"""Files that clients name: their paths inside containers and the digests that stand for their content."""

import hashlib
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import MountId

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_PATH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeFile:
    """One file of a tree: absolute path in the container, SHA-256 of the content in hex, permission bits."""

    path: str
    digest: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTree:
    """Files that appear over an image. `id` is a digest of the list, so equal trees are kept once."""

    id: str
    files: tuple[TreeFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    id: MountId
    tree: FileTree
    created_at: datetime
    name: str = ""  # of a published mount; empty otherwise
    app_id: str = ""


def checked_digest(text: str) -> str:
    if not _SHA256.fullmatch(text):
        msg = f"Not a SHA-256 digest in lower-case hex: {text[:80]!r}."
        raise InvalidRequest(msg)
    return text


def checked_container_path(path: str) -> str:
    """The path, normalized. Refuses relative paths, `..`, NUL and what is too long: nothing may leave the container's root."""
    if not path.startswith("/"):
        msg = f"A path in a mount must be absolute: {path[:200]!r}."
        raise InvalidRequest(msg)
    if ".." in path.split("/") or "\0" in path or len(path) > _MAX_PATH:
        msg = f"A path in a mount may not contain '..' or NUL, or be longer than {_MAX_PATH} bytes: {path[:200]!r}."
        raise InvalidRequest(msg)
    normal = posixpath.normpath("/" + path.lstrip("/"))
    if normal == "/":
        msg = "A file in a mount needs a name: the path is '/'."
        raise InvalidRequest(msg)
    return normal


def file_tree(files: Iterable[TreeFile]) -> FileTree:
    """The files as a tree, in order of path. Refuses two contents for one path, and a file where a folder must be."""
    by_path: dict[str, TreeFile] = {}
    for file in files:
        if by_path.setdefault(file.path, file) != file:
            msg = f"Two different files have the path {file.path!r}. Leave one of them out."
            raise InvalidRequest(msg)
    ordered = tuple(by_path[path] for path in sorted(by_path))
    for file in ordered:
        _check_parents(file.path, by_path)
    return FileTree(id=_tree_id(ordered), files=ordered)


def _check_parents(path: str, by_path: dict[str, TreeFile]) -> None:
    parent = posixpath.dirname(path)
    while parent != "/":
        if parent in by_path:
            msg = f"{parent!r} is a file, so there can be no {path!r} below it. Leave one of them out."
            raise InvalidRequest(msg)
        parent = posixpath.dirname(parent)


def _tree_id(files: tuple[TreeFile, ...]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.digest} {file.mode:o} {file.path}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
