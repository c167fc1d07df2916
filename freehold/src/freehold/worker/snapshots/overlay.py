"""Layers as plain folders, root filesystems as overlay mounts of them. A finished writable folder becomes a layer by one rename."""

import os
import secrets
import shutil
import stat
import threading
from collections.abc import Set as AbstractSet
from pathlib import Path

import anyio.to_thread

from freehold import disk
from freehold.domain.ids import LayerId
from freehold.worker.snapshots.mounts import mount_overlay, unmount

# The lowest layer of every root holds the places where the runtime mounts things. Otherwise it would make them in the writable
# folder, and every layer that a build commits would carry them.
_MOUNT_FOLDERS = ("proc", "sys", "dev", "etc", "__freehold/control", "__freehold/task", "__freehold/web", "root")
_MOUNT_FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf", "__freehold/init", "__freehold/task/arguments.bin")
_GROUND = 2  # raise when these change: roots that an engine of another version mounted stand on theirs


class OverlaySnapshots:
    """Implements `Snapshotter`: `layers/<id>`, `roots/<key>/{upper,work,merged,written}` and `staging/` in the engine's home."""

    def __init__(self, *, home: Path) -> None:
        self._layers = home / "layers"
        self._roots = home / "roots"
        self._staging = home / "staging"
        self._ground = home / "run" / f"ground-{_GROUND}"
        self._has_ground = False  # a whole one: an earlier engine may have been killed while it made it
        self._making_ground = threading.Lock()

    async def mount(self, key: str, layers: tuple[LayerId, ...], extra: tuple[Path, ...] = ()) -> Path:
        return await anyio.to_thread.run_sync(self._mount, key, layers, extra)

    async def unmount(self, key: str) -> None:
        await anyio.to_thread.run_sync(unmount, self._merged(key))

    async def commit(self, key: str, layer: LayerId) -> None:
        await anyio.to_thread.run_sync(self._commit, key, layer)

    async def written(self, key: str) -> Path | None:
        return await anyio.to_thread.run_sync(self._written, key)

    async def remove(self, key: str) -> None:
        await anyio.to_thread.run_sync(self._remove, key)

    async def sweep(self, keep: AbstractSet[str] = frozenset()) -> list[str]:
        return await anyio.to_thread.run_sync(self._sweep, keep)

    def has(self, layer: LayerId) -> bool:
        return self.path(layer).is_dir()

    def path(self, layer: LayerId) -> Path:
        return self._layers / layer

    def staging(self) -> Path:
        folder = self._staging / secrets.token_hex(8)
        _make_folder(folder)
        return folder

    def adopt(self, folder: Path, layer: LayerId) -> None:
        """Make a finished folder a layer. What is not yet on disk would be missing from it after a power cut, so it waits for that."""
        disk.sync_filesystem(folder)
        _make_folder(self._layers)
        try:
            folder.rename(self.path(layer))
        except OSError:
            if not self.has(layer):
                raise
            shutil.rmtree(folder)

    def _mount(self, key: str, layers: tuple[LayerId, ...], extra: tuple[Path, ...]) -> Path:
        self._remove(key)
        merged = self._merged(key)
        upper, work = merged.with_name("upper"), merged.with_name("work")
        for folder in (upper, work, merged):
            _make_folder(folder)
        lower = (self._lowest(), *map(self.path, layers), *extra)
        mount_overlay(merged, lower=lower, upper=upper, work=work)
        return merged

    def _commit(self, key: str, layer: LayerId) -> None:
        self.adopt(self._merged(key).with_name("upper"), layer)
        self._remove(key)

    def _written(self, key: str) -> Path | None:
        upper = self._merged(key).with_name("upper")
        if not any(upper.iterdir()):
            return None
        copy = upper.with_name("written")
        _link_all(upper, copy)
        return copy

    def _remove(self, key: str) -> None:
        root = self._roots / key
        if root.exists():
            unmount(self._merged(key))
            shutil.rmtree(root)

    def _sweep(self, keep: AbstractSet[str]) -> list[str]:
        left = sorted(folder.name for folder in self._roots.glob("*") if folder.name not in keep)
        for key in left:
            self._remove(key)
        shutil.rmtree(self._staging, ignore_errors=True)
        if not keep:  # the ground is part of every root
            self._has_ground = False
            for ground in self._ground.parent.glob("ground*"):
                shutil.rmtree(ground, ignore_errors=True)
        return left

    def _merged(self, key: str) -> Path:
        return self._roots / key / "merged"

    def _lowest(self) -> Path:
        with self._making_ground:
            if not self._has_ground:
                for folder in _MOUNT_FOLDERS:
                    _make_folder(self._ground / folder)
                for file in _MOUNT_FILES:
                    (self._ground / file).touch()
                self._has_ground = True
        return self._ground


def _link_all(source: Path, target: Path) -> None:
    """The same folders with the same files in them. By descriptor: whoever writes there meanwhile must not lead this astray by links."""
    for folder, folders, files, descriptor in os.fwalk(source):
        copy = target / Path(folder).relative_to(source)
        _copy_folder(descriptor, copy)
        links = [name for name in folders if stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode)]
        for name in (*files, *links):
            os.link(name, copy / name, src_dir_fd=descriptor, follow_symlinks=False)


def _copy_folder(descriptor: int, copy: Path) -> None:
    """Itself, with its owner, its rights and what the kernel has noted about it; not what is in it."""
    found = os.fstat(descriptor)
    copy.mkdir()
    os.chown(copy, found.st_uid, found.st_gid)
    shutil.copystat(f"/proc/self/fd/{descriptor}", copy)


def _make_folder(folder: Path) -> None:
    """With the mode that a root filesystem's folders have, whatever the umask."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
