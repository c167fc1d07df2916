"""Base images, wherever they come from: a container registry where one answers, else Debian packages; a few tools from PyPI."""

from typing import Protocol

from freehold.domain.errors import InvalidRequest
from freehold.wire.worker import BuiltImage
from freehold.worker.builds.certificates import SiteCertificates
from freehold.worker.builds.debian import DebianBases
from freehold.worker.builds.output import BuildLog
from freehold.worker.builds.registry import Registry
from freehold.worker.builds.tools import Tools


class BaseImages(Protocol):
    """Images that are not built here but built upon.

    The same reference may be asked for by several builds at once and again at any time; what was made or fetched once is kept as
    layers. Raises InvalidRequest, saying what can be had instead, when the reference cannot be served.
    """

    async def layers_for(self, reference: str, log: BuildLog) -> BuiltImage: ...


class MachineBases:
    """Implements `BaseImages`. `source` is the setting `base_image_source`: auto, registry or debian."""

    def __init__(self, *, registry: Registry, debian: DebianBases, tools: Tools, certificates: SiteCertificates, source: str) -> None:
        self._registry = registry
        self._debian = debian
        self._tools = tools
        self._certificates = certificates
        self._source = source

    async def layers_for(self, reference: str, log: BuildLog) -> BuiltImage:
        if tool := await self._tools.find(reference):
            return tool
        return await self._certificates.added_to(await self._image(reference, log), log)

    async def _image(self, reference: str, log: BuildLog) -> BuiltImage:
        if self._source == "debian":
            return await self._debian.make(reference, log)
        found = await self._registry.pull(reference, log)
        if isinstance(found, BuiltImage):
            return found
        if self._source == "registry":
            msg = f"Cannot get the base image {reference!r}: {found}"
            raise InvalidRequest(msg)
        try:
            return await self._debian.make(reference, log)
        except InvalidRequest as refusal:
            msg = f"{refusal} (Registry: {found})"
            raise InvalidRequest(msg) from refusal
