"""Binds of folders below others in which containers write: what was found is mounted, whatever has its name a moment later.

The runtime takes paths, and would follow a link that a container puts in the place of such a folder after we have looked. So the folder is
first mounted, by its descriptor, at a path that no container sees, and the runtime is given that one.
"""

import secrets
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from freehold import disk
from freehold.domain.errors import Unavailable
from freehold.worker import syscalls
from freehold.worker.ports import Bind


def pinned(bind: Bind, places: Path, held: ExitStack) -> Bind:
    """A bind of a path that leads where it should until `held` is closed. `places` is a folder for such paths.

    Raises Unavailable when there is nothing to be found.
    """
    if bind.below is None:
        return bind
    try:
        with disk.folder(bind.source, bind.below, make=True) as descriptor:
            return replace(bind, source=_mounted(descriptor, places, held) if bind.below else bind.source, below=None)
    except OSError as error:
        path = "/".join((bind.source.name, *bind.below))
        msg = f"Nothing can be mounted at {bind.target}: {path} is gone, or is no folder. Links in volumes are not followed."
        raise Unavailable(msg) from error


def remove_places(places: Path) -> None:
    """Those that a killed engine has left: its mounts are gone, so they are empty."""
    for place in places.glob("*"):
        with suppress(OSError):
            place.rmdir()


def _mounted(descriptor: int, places: Path, held: ExitStack) -> Path:
    """Removed by `rmdir` only: whatever fails, what is in the folder must not be taken for ours."""
    place = places / secrets.token_hex(8)
    place.mkdir(parents=True)
    held.callback(place.rmdir)
    syscalls.mount(f"/proc/self/fd/{descriptor}", place, "none", syscalls.MS_BIND, "")
    held.callback(syscalls.unmount, place, syscalls.MNT_DETACH)
    return place
