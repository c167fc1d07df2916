"""Images of which builds copy one program only (`COPY --from=ghcr.io/astral-sh/uv`): made of the program's package instead."""

import re
import shutil
import sys
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import anyio.to_thread
from uv import find_uv_bin

from freehold.domain.baseimages import Reference, parse_reference
from freehold.domain.errors import InvalidRequest
from freehold.domain.images import ImageConfig
from freehold.wire.worker import BuiltImage
from freehold.worker.builds.layers import Layers, layer_key
from freehold.worker.builds.programs import ProgramFailed, run_program

_UV = "ghcr.io/astral-sh/uv"
_VERSION = re.compile(r"^\d+\.\d+\.\d+$")
_DEADLINE = timedelta(minutes=5)


class Tools:
    """`uv` of the engine's own environment, or the version that is asked for from a package index."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    async def find(self, reference: str) -> BuiltImage | None:
        """An image with /uv and /uvx; None when the reference is something else."""
        parsed = parse_reference(reference)
        if parsed.repository != _UV:
            return None
        wanted = _wanted_version(parsed)
        layer = await self._layers.ensure_folder(layer_key("uv", (), version=wanted), lambda folder: _provide(wanted, folder))
        return BuiltImage(layers=(layer,), config=ImageConfig())


def _wanted_version(reference: Reference) -> str:
    """Tags that name no exact version ("latest", "0.8") mean the engine's."""
    return reference.tag if _VERSION.match(reference.tag) else version("uv")


async def _provide(wanted: str, folder: Path) -> None:
    uv = Path(find_uv_bin())
    if wanted == version("uv"):
        await anyio.to_thread.run_sync(_copy, uv.parent, folder)
        return
    installed = folder / "installed"
    argv = (str(uv), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(installed), f"uv=={wanted}")
    try:
        await run_program(argv, deadline=_DEADLINE)
    except ProgramFailed as failure:
        msg = f"Could not get uv {wanted}: {failure} Leave out uv_version to use {version('uv')}, which is here."
        raise InvalidRequest(msg) from failure
    await anyio.to_thread.run_sync(_copy, installed / "bin", folder)
    await anyio.to_thread.run_sync(shutil.rmtree, installed)


def _copy(source: Path, folder: Path) -> None:
    for name in ("uv", "uvx"):
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
            (folder / name).chmod(0o755)
