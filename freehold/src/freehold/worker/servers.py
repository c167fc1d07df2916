"""What serves HTTP in containers: `freehold.container.serving` and the parts of uvicorn that it needs, as one package of its own.

Everything in it is imported as `freehold_web.…`, so that it neither meets nor hides what the user's image has of the same.
"""

import re
import shutil
from importlib.metadata import version
from pathlib import Path

from freehold.domain.errors import FreeholdError
from freehold.worker.packages import install_packages

PACKAGE = "freehold_web"
_UVICORN = f"uvicorn=={version('uvicorn')}"  # the one that the tests of this engine have passed with
_WHOLE = ("httptools", "websockets")
_IF_THERE_IS_ONE = "uvloop"  # for this Python and machine
_OF_UVICORN = (
    "_types.py",
    "protocols/utils.py",
    "protocols/http/flow_control.py",
    "protocols/http/httptools_impl.py",
    "protocols/websockets/websockets_sansio_impl.py",
)
# Those name these for their annotations only; uvicorn's own import half of the standard library.
_STUBS = {"config.py": "Config = object\n", "server.py": "ServerState = object\n", "logging.py": "TRACE_LOG_LEVEL = 5\n"}
_IMPORT = re.compile(r"^(\s*)from (uvicorn|httptools|websockets|uvloop)\b|^(\s*)import (httptools|websockets|uvloop)$", re.MULTILINE)
_LOGGER = re.compile(r'"uvicorn\.(error|access)"')


async def install_server(serving: str, series: str, folder: Path, *, wheels: Path) -> None:
    """Make the package in `folder`, for a Python series. `serving` is the source of our part."""
    staging = folder / "staging"
    packages = {}
    for requirement in (_UVICORN, *_WHOLE, _IF_THERE_IS_ONE):
        name = requirement.partition("=")[0]
        try:
            await install_packages(requirement, series, staging / name, wheels=wheels)
        except FreeholdError:
            if name != _IF_THERE_IS_ONE:
                raise
        else:
            packages[name] = staging / name / name
    _assemble(packages, serving, folder / PACKAGE)
    shutil.rmtree(staging)


def recipe() -> str:
    """Changes when something else would be made."""
    return repr((_UVICORN, _WHOLE, _IF_THERE_IS_ONE, _OF_UVICORN, _STUBS, _IMPORT, _LOGGER))


def _assemble(packages: dict[str, Path], serving: str, target: Path) -> None:
    for name in packages.keys() - {"uvicorn"}:
        shutil.copytree(packages[name], target / name)
    for name in _OF_UVICORN:
        _write(target / "uvicorn" / name, _renamed((packages["uvicorn"] / name).read_text()))
    for name, text in _STUBS.items():
        _write(target / "uvicorn" / name, text)
    _write(target / "serving.py", _renamed(serving))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _renamed(source: str) -> str:
    return _LOGGER.sub(f'"{PACKAGE}"', _IMPORT.sub(_under_our_name, source))


def _under_our_name(found: re.Match[str]) -> str:
    if found[2]:
        return f"{found[1]}from {PACKAGE}.{found[2]}"
    return f"{found[3]}from {PACKAGE} import {found[4]}"
