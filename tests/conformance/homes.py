"""Homes of engines under test that begin with nothing: what all of them would build first is built once."""

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BUILT = ("layers", "bundles", "cache", "pythons")  # what takes minutes to make, and does not depend on the home


@contextmanager
def built_once(home: Path) -> Iterator[None]:
    """A block that builds the default image in this home, if it has none. Of several at the same time one does, and the others, who wait
    for it, begin with what that has built.
    """
    shared = home.with_name("default-image")
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (home / "layers").exists():
        yield
        return
    with shared.with_name("default-image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if shared.exists():
            _copy(shared, home)
        yield
        if not shared.exists():
            half = shared.with_name("half-a-default-image")
            shutil.rmtree(half, ignore_errors=True)
            _copy(home, half)
            half.rename(shared)


def _copy(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for name in _BUILT:
        if (source / name).exists():
            subprocess.run(["cp", "-a", "--reflink=auto", source / name, target / name], check=True)
