"""The control plane, joined: everything that changes or knows state, without the edges that callers see and without a machine."""

from freehold.assembly.catalog import Catalog
from freehold.assembly.foundation import Foundation
from freehold.assembly.insight import Insight
from freehold.assembly.resources import Resources
from freehold.assembly.serving import Serving
from freehold.assembly.work import Work
from freehold.config import Settings


class ControlPlane:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.base = Foundation(settings)
        self.resources = Resources(self.base)
        self.work = Work(self.base)
        self.catalog = Catalog(self.base, self.resources, self.work)
        self.insight = Insight(self.base, self.work, self.catalog)
        self.serving = Serving(self.base, self.resources, self.work, self.catalog)

    async def restore(self) -> None:
        """Take into memory what was kept; tasks, calls and apps are the restart's."""
        await self.work.usage.restore()
        await self.work.metrics.restore()
        await self.resources.proxy_tokens.restore()
        await self.resources.tokens.restore()

    async def close(self) -> None:
        """Write what is in memory only."""
        await self.base.journal.flush()
        await self.resources.tokens.step()
        await self.work.usage.step()
        await self.work.metrics.flush()
        await self.resources.blobs.flush()
        await self.base.close()
