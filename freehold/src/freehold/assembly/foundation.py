"""What the rest stands on: settings, clock, and what survives the engine."""

from freehold.config import Settings
from freehold.control.services.counters import Counters
from freehold.control.services.journal import Journal
from freehold.domain.clock import SystemClock
from freehold.domain.volumes import FOLDER as VOLUMES_FOLDER
from freehold.observability.lag import LoopLag
from freehold.store.blobs.folder import FolderBlobs
from freehold.store.import_lists import ImportLists
from freehold.store.keyring import Keyring
from freehold.store.logs import LogStore
from freehold.store.prices import PriceFile
from freehold.store.sql.store import SqlStore
from freehold.store.volumes.folders import VolumeFolders


class Foundation:
    def __init__(self, settings: Settings) -> None:
        home = settings.root
        self.settings = settings
        self.clock = SystemClock()
        self.keyring = Keyring.open(home)
        self.store = SqlStore(home / "freehold.db")
        self.content = FolderBlobs(home / "blobs")
        self.volume_folders = VolumeFolders(home / VOLUMES_FOLDER, self.content)
        self.log_store = LogStore(home / "logs" / "apps", bytes_per_log=settings.log_bytes_per_app)
        self.import_lists = ImportLists(home / "imports")
        self.prices = PriceFile(home)
        self.journal = Journal(store=self.store, clock=self.clock)
        self.counters = Counters(self.clock)
        self.loop_lag = LoopLag()

    async def open(self) -> None:
        await self.content.open()
        await self.volume_folders.open()
        await self.store.open()
        self.prices.open()

    async def close(self) -> None:
        self.log_store.close()
        await self.store.close()
