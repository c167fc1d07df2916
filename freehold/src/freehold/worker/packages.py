"""Python packages for containers, installed into a folder: from wheels that lie ready, else from a package index, else from the engine's own
environment.
"""

import platform
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import anyio.to_thread
from uv import find_uv_bin

from freehold.domain.errors import InvalidRequest, Unavailable
from freehold.worker.builds.programs import ProgramFailed, run_program

_DEADLINE = timedelta(minutes=5)
_GLIBC = "manylinux_2_28"  # of wheels; every Debian since bullseye has a newer one
_NAME = re.compile(r"^[A-Za-z0-9._-]+")
_NO_SUCH_VERSION = re.compile(r"there is no version of|was not found in the package registry", re.IGNORECASE)


async def install_packages(requirement: str, series: str, folder: Path, *, wheels: Path, beside: Sequence[str] = ()) -> None:
    """Install `name` or `name==version` with what it needs, for a Python series (which need not be on this machine).

    `beside` names other requirements that must hold at once. `wheels` is where its owner may put packages, for a machine that reaches no index; what is whole there is taken from there.
    """
    await anyio.to_thread.run_sync(partial(folder.parent.mkdir, parents=True, exist_ok=True))  # where uv is started
    if await anyio.to_thread.run_sync(_holds_wheels, wheels):
        with suppress(ProgramFailed):
            from_wheels = ("--no-index", "--find-links", str(wheels))
            await run_program(_uv_install((requirement, *beside), series, folder, *from_wheels), deadline=_DEADLINE)
            return
        shutil.rmtree(folder, ignore_errors=True)
    try:
        await run_program(_uv_install((requirement, *beside), series, folder), deadline=_DEADLINE)
    except ProgramFailed as failure:
        if not await anyio.to_thread.run_sync(_copy_own, requirement, series, folder):
            raise _refusal(requirement, series, str(failure), wheels) from failure


def _holds_wheels(folder: Path) -> bool:
    return any(folder.glob("*.whl"))


def _uv_install(requirements: Sequence[str], series: str, folder: Path, *sources: str) -> tuple[str, ...]:
    target = ("--target", str(folder), "--python-version", series, "--python-platform", f"{platform.machine()}-{_GLIBC}")
    # In the target's parent, so that no project that the engine was started in has a say.
    return (
        find_uv_bin(),
        "--directory",
        str(folder.parent),
        "pip",
        "install",
        "--quiet",
        "--link-mode",
        "copy",
        "--python",
        sys.executable,
        *target,
        *sources,
        *requirements,
    )


def _refusal(requirement: str, series: str, words: str, wheels: Path) -> InvalidRequest | Unavailable:
    if _NO_SUCH_VERSION.search(words):
        msg = f"There is no package {requirement} for Python {series}. Is the version right? The index said: {words}"
        return InvalidRequest(msg)
    msg = (
        f"Could not get the package {requirement} for Python {series}: {words} Let this machine reach a package index, or put the package and "
        f"what it needs into {wheels}, as `pip download {requirement} --python-version {series} --only-binary=:all: --dest wheels` gets them "
        "on another machine."
    )
    return Unavailable(msg)


def _copy_own(requirement: str, series: str, folder: Path) -> bool:
    """Copy from the engine's environment, if it has this very version for this Python; whether it had."""
    name, _, version = requirement.partition("==")
    if series != f"{sys.version_info.major}.{sys.version_info.minor}":
        return False
    found = _own(name)
    if found is None or (version and found.version != version):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    for package in _with_requirements(found, set()):
        _copy_package(package, folder)
    return True


def _own(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _with_requirements(package: Distribution, seen: set[str]) -> Iterator[Distribution]:
    if package.name in seen:
        return
    seen.add(package.name)
    yield package
    for requirement in package.requires or ():
        named = _NAME.match(requirement)
        if named and "extra ==" not in requirement and (needed := _own(named[0])):
            yield from _with_requirements(needed, seen)


def _copy_package(package: Distribution, folder: Path) -> None:
    for file in package.files or ():
        source = Path(str(package.locate_file(file)))
        if ".." in file.parts or file.suffix == ".pyc" or not source.is_file():
            continue
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
