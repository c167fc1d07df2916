"""Images from container registries: skopeo fetches, we unpack layer by layer. A registry that does not answer is not asked again."""

import json
import shutil
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread

from freehold.domain.baseimages import parse_reference
from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import LayerId
from freehold.domain.images import ImageConfig
from freehold.wire.worker import BuiltImage
from freehold.worker.builds.layers import Layers, layer_key
from freehold.worker.builds.output import BuildLog
from freehold.worker.builds.programs import ProgramFailed, run_program
from freehold.worker.builds.unpacking import unpack_layer
from freehold.worker.staging import fresh_folder

_ANSWER = timedelta(seconds=5)  # a registry that is there answers within one
_DOWNLOAD = timedelta(minutes=30)
_DEFAULT_HOST = "the public registry"


class Registry:
    """Pulls images with skopeo. `transport` is skopeo's name for where images come from."""

    def __init__(self, *, home: Path, layers: Layers, transport: str = "docker://") -> None:
        self._home = home
        self._layers = layers
        self._transport = transport
        self._silent: dict[str, str] = {}  # registries that could not be reached in this process's life, and why

    async def pull(self, reference: str, log: BuildLog) -> BuiltImage | str:
        """The image, or why it cannot be had from a registry."""
        host = _host(reference)
        if host in self._silent:
            return self._silent[host]
        if shutil.which("skopeo") is None:
            return "skopeo is not installed on this machine."
        address = f"{self._transport}{reference}"
        try:
            await run_program(("skopeo", "inspect", "--raw", address), deadline=_ANSWER)
        except ProgramFailed as failure:
            if not _is_answer(str(failure)):
                self._silent[host] = f"{host} does not answer ({failure})."
            return str(failure)
        return await self._fetch(address, log)

    async def _fetch(self, address: str, log: BuildLog) -> BuiltImage | str:
        log.remark(f"Fetching {address.removeprefix(self._transport)}.")
        folder = await anyio.to_thread.run_sync(fresh_folder, self._home)
        try:
            await run_program(("skopeo", "copy", "--quiet", address, f"oci:{folder}:image"), deadline=_DOWNLOAD)
            return await self._unpack(folder)
        except ProgramFailed as failure:
            return str(failure)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(shutil.rmtree, folder)

    async def _unpack(self, folder: Path) -> BuiltImage:
        index = await anyio.to_thread.run_sync(_read_json, folder / "index.json")
        manifest = await anyio.to_thread.run_sync(_read_json, _blob(folder, index["manifests"][0]["digest"]))
        config = await anyio.to_thread.run_sync(_read_json, _blob(folder, manifest["config"]["digest"]))
        layers = [await self._layer(folder, layer["digest"]) for layer in manifest["layers"]]
        return BuiltImage(layers=tuple(layers), config=image_config(config.get("config") or {}))

    async def _layer(self, folder: Path, digest: str) -> LayerId:
        async def make(target: Path) -> None:
            await anyio.to_thread.run_sync(partial(unpack_layer, _blob(folder, digest), target))

        return await self._layers.ensure_folder(layer_key("oci", (), digest=digest), make)


def image_config(config: Mapping[str, Any]) -> ImageConfig:
    """The settings of an OCI image."""
    return ImageConfig(
        env=dict(pair.split("=", 1) for pair in config.get("Env") or ()),
        workdir=config.get("WorkingDir") or "/",
        entrypoint=tuple(config.get("Entrypoint") or ()),
        cmd=tuple(config.get("Cmd") or ()),
        user=config.get("User") or "",
        shell=tuple(config.get("Shell") or ImageConfig().shell),
    )


def _host(reference: str) -> str:
    first, slash, _ = parse_reference(reference).repository.partition("/")
    return first if slash and ("." in first or ":" in first) else _DEFAULT_HOST


def _is_answer(failure: str) -> bool:
    """Whether a registry said no, as opposed to saying nothing."""
    return any(word in failure.lower() for word in ("manifest unknown", "unauthorized", "denied", "not found", "toomanyrequests"))


def _blob(folder: Path, digest: str) -> Path:
    algorithm, _, value = digest.partition(":")
    if not (algorithm.isalnum() and value.isalnum()):
        msg = f"The registry sent an image with a malformed digest: {digest[:100]!r}."
        raise InvalidRequest(msg)
    return folder / "blobs" / algorithm / value


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text())
