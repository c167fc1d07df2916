"""Mounting and unmounting overlays."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from freehold.domain.errors import Unavailable
from freehold.worker import syscalls

# The kernel takes the options of one mount in one page, its last byte being NUL.
_OPTIONS_LIMIT = os.sysconf("SC_PAGE_SIZE") - 1
# Fixed, because distributions differ in their defaults and layers outlive kernels. `volatile` skips the syncs that package managers
# ask for by the thousand: a writable folder is thrown away, or synced once when it becomes a layer.
_BEHAVIOUR = "index=off,metacopy=off,redirect_dir=off,volatile"


def mount_overlay(target: Path, *, lower: Sequence[Path], upper: Path, work: Path) -> None:
    """Mount folders over one another, lowest first."""
    with _short_names((*reversed(lower), upper, work)) as names:
        *lower_names, upper_name, work_name = names
        options = f"lowerdir={':'.join(lower_names)},upperdir={upper_name},workdir={work_name},{_BEHAVIOUR}"
        if len(options) > _OPTIONS_LIMIT:
            msg = f"An image of {len(lower)} layers is more than one mount can take. Merge RUN commands to make fewer."
            raise Unavailable(msg)
        # Devices come from the runtime; nodes that a container makes for itself, or an image brings, open nothing.
        syscalls.mount("overlay", target, "overlay", syscalls.MS_NODEV, options)


def unmount(target: Path) -> None:
    """Unmount; a place where nothing is mounted is left alone. What still uses the mount keeps it until it ends."""
    try:
        syscalls.unmount(target)
    except OSError as error:
        if error.errno == errno.EBUSY:
            syscalls.unmount(target, syscalls.MNT_DETACH)
        elif error.errno not in (errno.EINVAL, errno.ENOENT):  # not a mount; no such folder
            raise


@contextmanager
def _short_names(folders: Sequence[Path]) -> Iterator[list[str]]:
    """Names of 20 bytes for any folders: layers by the hundred fit into one page, and no path needs escaping."""
    descriptors: list[int] = []
    try:
        for folder in folders:
            descriptors.append(os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))  # noqa: PERF401 — those opened must be closed
        yield [f"/proc/self/fd/{descriptor}" for descriptor in descriptors]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
