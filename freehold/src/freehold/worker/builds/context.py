"""The build context: the files that COPY and ADD read, as a list for cache keys and, when needed, as a folder."""

import hashlib
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from freehold.domain.dockerfile import Copy
from freehold.domain.errors import InvalidRequest
from freehold.domain.files import checked_container_path
from freehold.wire.worker import BuildSpec
from freehold.worker.ports import ContentStore
from freehold.worker.trees import link_or_copy


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFile:
    path: str  # relative to the context's root
    digest: str
    mode: int
    content: bytes | None = None  # sent inline; otherwise in the content store


class BuildContext:
    """The files of one build. Paths may come with or without a leading slash: both mean the context's root."""

    def __init__(self, spec: BuildSpec, content: ContentStore) -> None:
        self._content = content
        self._files: dict[str, ContextFile] = {}
        for file in spec.context.files if spec.context else ():
            self._add(ContextFile(path=_relative(file.path), digest=file.digest, mode=file.mode))
        for path, inline in spec.context_files.items():
            self._add(ContextFile(path=_relative(path), digest=hashlib.sha256(inline).hexdigest(), mode=0o644, content=inline))

    def matching(self, step: Copy) -> list[ContextFile]:
        """The files that a COPY or ADD reads. Raises InvalidRequest when one of its patterns matches nothing."""
        found: dict[str, ContextFile] = {}
        for pattern in step.patterns:
            of_pattern = self._matching(pattern)
            if not of_pattern and _normal(pattern) != ".":
                raise _nothing_found(step, pattern)
            found |= of_pattern
        return list(found.values())

    def lay_out(self, files: Iterable[ContextFile], folder: Path) -> None:
        """Make a folder of these files, without copying where that can be avoided."""
        for file in files:
            try:
                self._place(file, folder / file.path)
            except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
                msg = f"The build context has both a file and a folder at {file.path[:200]!r} or above it. Leave one of them out."
                raise InvalidRequest(msg) from error

    def _place(self, file: ContextFile, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.content is None:
            link_or_copy(self._content.path_of(file.digest), place, file.mode & 0o7777 or 0o644)
        else:
            place.write_bytes(file.content)

    def _add(self, file: ContextFile) -> None:
        self._files[file.path] = file

    def _matching(self, pattern: str) -> dict[str, ContextFile]:
        if _normal(pattern) == ".":
            return self._files
        wanted = _regex(_normal(pattern))
        return {path: file for path, file in self._files.items() if wanted.match(path)}


def _nothing_found(step: Copy, pattern: str) -> InvalidRequest:
    if step.unpacks:
        msg = f"ADD found nothing for {pattern[:200]!r}. The modal client sends only files that a COPY names: copy it first, or use COPY."
    else:
        msg = f"COPY found nothing for {pattern[:200]!r} in the build context: is the path right, and does an ignore rule hide it?"
    return InvalidRequest(msg)


def _relative(path: str) -> str:
    return checked_container_path("/" + path.lstrip("/")).lstrip("/")


def _normal(pattern: str) -> str:
    return posixpath.normpath(pattern)


def _regex(pattern: str) -> re.Pattern[str]:
    """Matches a path, or anything below it. As in Docker, `*` and `?` stop at slashes."""
    parts = {"*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\[[^\]/]+\]|.", pattern, re.DOTALL)
    body = "".join(parts.get(token) or (token if len(token) > 1 else re.escape(token)) for token in tokens)
    return re.compile(f"{body}(/|$)")
