"""What was kept long enough: results, history and log lines after their time, blobs when the folder is full and nothing needs them,
volumes whose clients have left.
"""

from datetime import datetime

from freehold.config import Settings
from freehold.control.services.blobs import Blobs
from freehold.control.services.logs import Logs
from freehold.control.services.volumes import Volumes
from freehold.domain.blobs import blob_id_of, mentioned_blob_ids
from freehold.domain.ids import BlobId
from freehold.domain.retention import blobs_to_delete
from freehold.store.ports import Store

_PAGE = 64  # inputs; each may hold some megabytes
_EVENTS = 2000  # deleted in one transaction
_ALL = 2**31 - 1


class Retention:
    def __init__(self, *, store: Store, blobs: Blobs, logs: Logs, volumes: Volumes, settings: Settings) -> None:
        self._store = store
        self._blobs = blobs
        self._logs = logs
        self._volumes = volumes
        self._result_ttl = settings.result_ttl
        self._history_ttl = settings.history_ttl
        self._usage_ttl = settings.usage_ttl
        self._log_ttl = settings.log_ttl
        self._log_total_bytes = settings.log_total_bytes
        self._blob_cache_bytes = settings.blob_cache_bytes
        self._has_adopted = False

    async def step(self, now: datetime) -> None:
        async with self._store.transaction() as tx:
            await tx.calls.delete_finished_before(now - self._result_ttl)
            await tx.tasks.delete_ended_before(now - self._history_ttl)
            await tx.usages.delete_before(hours=now - self._usage_ttl, totals=now - self._history_ttl)
        await self._forget_events(now - self._history_ttl)
        await self._logs.prune(now, ttl=self._log_ttl, total_bytes=self._log_total_bytes)
        await self._volumes.expire()
        await self._blobs.flush()
        if not self._has_adopted:
            await self._blobs.adopt()
            self._has_adopted = True
        await self._shrink(now)

    async def _forget_events(self, moment: datetime) -> None:
        """Some at a time: nobody waits long for the store meanwhile."""
        gone = _EVENTS
        while gone == _EVENTS:
            async with self._store.transaction() as tx:
                gone = await tx.events.delete_before(moment, _EVENTS)

    async def _shrink(self, now: datetime) -> None:
        async with self._store.transaction() as tx:
            excess = await tx.blobs.total_bytes() - self._blob_cache_bytes
            oldest_first = await tx.blobs.least_recently_used(_ALL) if excess > 0 else []
        if oldest_first:
            chosen = blobs_to_delete(oldest_first, needed=await self._needed(), excess=excess, now=now)
            await self._blobs.delete([BlobId(blob_id) for blob_id in chosen])

    async def _needed(self) -> set[str]:
        """Blobs that a mount shows, or that an input or result names."""
        async with self._store.transaction() as tx:
            needed: set[str] = {blob_id_of(digest) for digest in await tx.mounts.digests()}
        after = ""
        while True:
            async with self._store.transaction() as tx:
                page = await tx.calls.page(after, _PAGE)
                for item in page:
                    mentioned = mentioned_blob_ids(item.payload) | mentioned_blob_ids(item.result or b"")
                    needed |= {await tx.blobs.find_alias(blob_id) or blob_id for blob_id in mentioned}
            if len(page) < _PAGE:
                return needed
            after = page[-1].id
