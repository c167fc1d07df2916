"""`modal.Mount`: files of this machine, which are now an image's to add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Callable

from modal_compat import names
from modal_compat.telling import tell

_SOURCES = "/root"  # where the app's own modules are


@dataclass(frozen=True)
class _Files:
    add: str  # which method of the image
    local: tuple[Any, ...]
    remote: PurePosixPath | None = None  # of modules, modal knows where
    options: dict[str, Any] = field(default_factory=dict)

    def onto(self, image: Any, below: str | PurePosixPath, *, copy: bool) -> Any:
        place = () if self.remote is None else (str(PurePosixPath("/", below, self.remote.relative_to("/"))),)
        return getattr(image, self.add)(*self.local, *place, copy=copy, **self.options)


class Mount:
    """A list of what is to be added, in order."""

    def __init__(self, files: tuple[_Files, ...] = ()) -> None:
        self._files = files

    @classmethod
    def from_local_file(cls, local_path: str | Path, remote_path: str | PurePosixPath | None = None) -> Mount:
        tell(names.MOUNT, "`image.add_local_file()`")
        return cls().add_local_file(local_path, remote_path)

    @classmethod
    def from_local_dir(cls, local_path: str | Path, **options: Any) -> Mount:
        tell(names.MOUNT, "`image.add_local_dir()`")
        return cls().add_local_dir(local_path, **options)

    @classmethod
    def from_local_python_packages(
        cls,
        *module_names: str,
        remote_dir: str | PurePosixPath = _SOURCES,
        condition: Callable[[str], bool] | None = None,
        ignore: Sequence[str] | Callable[[Path], bool] | None = None,
    ) -> Mount:
        tell(names.MOUNT, "`image.add_local_python_source()`")
        if str(remote_dir) != _SOURCES:
            msg = f"Modules are added to {_SOURCES}. For {remote_dir}, write `image.add_local_dir()` with their folder."
            raise ValueError(msg)
        chosen = _unless(condition) or ignore or _is_no_source
        return cls((_Files("add_local_python_source", module_names, options={"ignore": chosen}),))

    def add_local_file(self, local_path: str | Path, remote_path: str | PurePosixPath | None = None) -> Mount:
        return self._with(_Files("add_local_file", (local_path,), _remote(local_path, remote_path)))

    def add_local_dir(
        self,
        local_path: str | Path,
        *,
        remote_path: str | PurePosixPath | None = None,
        condition: Callable[[str], bool] | None = None,
        recursive: bool = True,
    ) -> Mount:
        ignore = _unless(condition)
        options = {} if recursive and not ignore else {"ignore": ignore if recursive else _below_or(ignore)}
        return self._with(_Files("add_local_dir", (local_path,), _remote(local_path, remote_path), options))

    def _with(self, files: _Files) -> Mount:
        return type(self)((*self._files, files))

    def onto(self, image: Any, below: str | PurePosixPath = "/", *, copy: bool = False) -> Any:
        """The image with these files."""
        for files in self._files:
            image = files.onto(image, below, copy=copy)
        return image


def with_mounts(image: Any, mounts: Sequence[Mount]) -> Any:
    for mount in mounts:
        image = mount.onto(image)
    return image


def _remote(local: str | Path, remote: str | PurePosixPath | None) -> PurePosixPath:
    return PurePosixPath("/", Path(local).name if remote is None else remote)


def _unless(condition: Callable[[str], bool] | None) -> Callable[[Path], bool] | None:
    return None if condition is None else lambda path: not condition(str(path))


def _below_or(ignore: Callable[[Path], bool] | None) -> Callable[[Path], bool]:
    """Of paths in the folder, those that lie deeper, too."""
    return lambda path: len(path.parts) > 1 or bool(ignore and ignore(path))


def _is_no_source(path: Path) -> bool:
    """What packages were added without: data files went along."""
    return path.suffix == ".pyc" or any(part == "__pycache__" or part.startswith(".") for part in path.parts)
