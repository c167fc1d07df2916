"""What apps use, and who may use the engine. Nothing here knows functions or tasks."""

from freehold.assembly.foundation import Foundation
from freehold.control.services.blobs import Blobs
from freehold.control.services.environments import Environments
from freehold.control.services.mounts import Mounts
from freehold.control.services.proxy_tokens import ProxyTokens
from freehold.control.services.secrets import Secrets
from freehold.control.services.token_flows import TokenFlows
from freehold.control.services.tokens import Tokens
from freehold.control.services.volume_files import VolumeFiles
from freehold.control.services.volumes import Volumes
from freehold.control.services.workspaces import Workspaces


class Resources:
    def __init__(self, base: Foundation) -> None:
        settings = base.settings
        self.environments = Environments(store=base.store, clock=base.clock, settings=settings)
        self.blobs = Blobs(store=base.store, content=base.content, keyring=base.keyring, clock=base.clock, settings=settings)
        self.mounts = Mounts(store=base.store, content=base.content, blobs=self.blobs, environments=self.environments, clock=base.clock)
        self.secrets = Secrets(store=base.store, environments=self.environments, keyring=base.keyring, clock=base.clock)
        self.volumes = Volumes(store=base.store, files=base.volume_folders, environments=self.environments, clock=base.clock)
        self.volume_files = VolumeFiles(
            volumes=self.volumes,
            files=base.volume_folders,
            content=base.content,
            blobs=self.blobs,
            keyring=base.keyring,
            settings=settings,
        )
        self.workspaces = Workspaces(settings=settings)
        self.tokens = Tokens(store=base.store, keyring=base.keyring, clock=base.clock)
        self.token_flows = TokenFlows(tokens=self.tokens, clock=base.clock)
        self.proxy_tokens = ProxyTokens(store=base.store, environments=self.environments, clock=base.clock)
