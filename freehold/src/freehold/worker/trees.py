"""Mounts as folders: a file tree laid out once with hard links to the content store, ready to be overlaid on an image."""

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import anyio.to_thread

from freehold.domain.errors import InvalidRequest
from freehold.domain.files import FileTree, TreeFile, checked_container_path
from freehold.worker.locks import KeyedLocks
from freehold.worker.ports import ContentStore
from freehold.worker.staging import fresh_folder

# A folder of an upper layer hides a symlink of the image with the same name, so paths go where these point.
_LINKED_FOLDERS: Mapping[str, str] = {
    "/bin": "/usr/bin",
    "/sbin": "/usr/sbin",
    "/lib": "/usr/lib",
    "/lib32": "/usr/lib32",
    "/lib64": "/usr/lib64",
    "/var/run": "/run",
    "/var/lock": "/run/lock",
}
# The upper layer's folder also decides the mode.
_FOLDER_MODES: Mapping[str, int] = {"/root": 0o700, "/tmp": 0o1777, "/var/tmp": 0o1777, "/run/lock": 0o1777}  # noqa: S108 — container paths
_FOLDER_MODE = 0o755


class Trees:
    """Folders under `home/trees`, one per tree id, each made atomically and kept."""

    def __init__(self, home: Path, content: ContentStore) -> None:
        self._home = home
        self._root = home / "trees"
        self._content = content
        self._locks = KeyedLocks()

    async def materialize(self, tree: FileTree) -> Path:
        """The folder with the tree's files. Raises NotFound when a file's content is not in the store."""
        target = self._root / _folder_name(tree.id)
        async with self._locks.hold(tree.id):
            if not target.exists():
                await anyio.to_thread.run_sync(self._make, tree, target)
        return target

    def _make(self, tree: FileTree, target: Path) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        staging = fresh_folder(self._home)
        try:
            staging.chmod(_FOLDER_MODE)
            for file in tree.files:
                self._place(file, staging)
            staging.rename(target)
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            shutil.rmtree(staging)
            msg = f"Two files of a mount need the same path, once as a file and once as a folder: /{Path(error.filename).relative_to(staging)}."
            raise InvalidRequest(msg) from error
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise

    def _place(self, file: TreeFile, root: Path) -> None:
        path = image_path(checked_container_path(file.path))
        _make_folders(root, PurePosixPath(path).parent)
        place = root / path.lstrip("/")
        if place.exists():
            place.unlink()  # listed twice: the later one wins, as in later mounts
        link_or_copy(self._content.path_of(file.digest), place, stat.S_IMODE(file.mode) or 0o644)


def _folder_name(tree_id: str) -> str:
    if not tree_id or "/" in tree_id or tree_id.startswith("."):
        msg = f"{tree_id[:100]!r} cannot be the id of a file tree."
        raise InvalidRequest(msg)
    return tree_id


def image_path(path: str) -> str:
    """Where the path really is on a Debian-like image, whose /bin, /lib and the like are links into /usr."""
    for linked, real in _LINKED_FOLDERS.items():
        if path.startswith(linked + "/"):
            return real + path.removeprefix(linked)
    return path


def _make_folders(root: Path, folder: PurePosixPath) -> None:
    for part in reversed([folder, *folder.parents]):
        if part.name and not (place := root / str(part).lstrip("/")).is_dir():
            place.mkdir()
            place.chmod(_FOLDER_MODES.get(str(part), _FOLDER_MODE))


def link_or_copy(source: Path, place: Path, mode: int) -> None:
    """A hard link where the mode is right and the file system allows it: a link shares the mode of the file."""
    if stat.S_IMODE(source.stat().st_mode) == mode:
        try:
            os.link(source, place)
        except OSError:  # another file system, or as many links as it can count
            pass
        else:
            return
    shutil.copyfile(source, place)
    place.chmod(mode)
