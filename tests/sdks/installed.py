"""Other versions of the `modal` SDK than the one that is installed: each with all that it needs in an environment of its own, `build/sdks/<version>`.

What is in it says `<version>.lock` beside this file, with hashes (`make lock-sdks`). It is made once and kept.
"""

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = Path(__file__).parents[2] / "build" / "sdks"
ALL = ("0.64.235", "0.72.58", "1.0.5", "1.1.4", "1.2.6", "1.3.5", "1.4.3", "1.5.5", "1.6.4")
SOME = ("0.72.58", "1.0.5", "1.3.5")  # which `make test` has time for

_UV = Path(sys.executable).with_name("uv")
_READY = ".ready"  # holds the lock that the environment was made by
_DEADLINE = 300  # seconds


def python_of(version: str) -> Path:
    """The Python that has this version, installed if need be."""
    folder = ROOT / version
    with _held(version):
        if not _is_ready(folder, _lock(version)):
            _install(folder, _lock(version))
    return folder / "bin" / "python"


def packages_of(version: str) -> Path:
    """The folder with its packages, to be put before others."""
    (folder,) = python_of(version).parents[1].glob("lib/python3*/site-packages")
    return folder


def _lock(version: str) -> Path:
    return FOLDER / f"{version}.lock"


def _is_ready(folder: Path, lock: Path) -> bool:
    stamp = folder / _READY
    return stamp.exists() and stamp.read_text() == lock.read_text()


def _install(folder: Path, lock: Path) -> None:
    _run("venv", "--quiet", "--clear", "--no-python-downloads", "--python", sys.executable, folder)
    _run(
        "pip", "install", "--quiet", "--python", folder / "bin" / "python", "--require-hashes", "--compile-bytecode", "--requirements", lock
    )
    (folder / _READY).write_text(lock.read_text())


def _run(*words: str | Path) -> None:
    ran = subprocess.run([_UV, *words], capture_output=True, text=True, check=False, timeout=_DEADLINE)
    assert ran.returncode == 0, f"modal could not be installed: uv {' '.join(map(str, words))}\n{ran.stdout}{ran.stderr}"


@contextmanager
def _held(version: str) -> Iterator[None]:
    """Several test runs may want it at once."""
    ROOT.mkdir(parents=True, exist_ok=True)
    with (ROOT / f"{version}.held").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
