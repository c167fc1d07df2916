"""Files that clients name: their paths inside containers and the digests that stand for their content."""

import posixpath
import re
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
