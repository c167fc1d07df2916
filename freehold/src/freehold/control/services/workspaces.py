"""The workspace: there is one, that of the engine's owner."""

from freehold.config import Settings
from freehold.control.caller import Caller
from freehold.domain.environments import builder_version_for


class Workspaces:
    def __init__(self, *, settings: Settings) -> None:
        self.name = settings.workspace
        self._newest_builder = settings.image_builder_version

    @property
    def id(self) -> str:
        return f"ac-{self.name}"

    def builder_version(self, caller: Caller) -> str:
        """Of images, as this caller's client should build them."""
        return builder_version_for(caller.client_version, self._newest_builder)
