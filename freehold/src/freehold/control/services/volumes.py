"""Volumes by name, and ephemeral ones, which live as long as their client says so. What is in them: `volume_files`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from freehold.control.services.environments import Environments
from freehold.domain.clock import Clock
from freehold.domain.creation import Creation
from freehold.domain.errors import AlreadyExists, InvalidRequest, NotFound
from freehold.domain.ids import VolumeId, new_volume_id
from freehold.domain.names import checked_name
from freehold.domain.volumes import EPHEMERAL_LIFE, Volume
from freehold.store.ports import Store, Transaction, VolumeFiles

_VERSIONS = (1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedVolume:
    """A volume as a client names it. `version` is 0 where it does not care."""

    environment: str
    name: str
    creation: Creation
    version: int = 0


class Volumes:
    def __init__(self, *, store: Store, files: VolumeFiles, environments: Environments, clock: Clock) -> None:
        self._store = store
        self._files = files
        self._environments = environments
        self._clock = clock
        self._heard: dict[VolumeId, datetime] = {}  # of the clients of ephemeral ones, since this engine's start

    async def get(self, volume_id: VolumeId) -> Volume:
        async with self._store.transaction() as tx:
            return await tx.volumes.get(volume_id)

    async def find_all(self, volume_ids: Collection[str]) -> Mapping[str, Volume]:
        """Those of these that there are."""
        found: dict[str, Volume] = {}
        if not volume_ids:
            return found
        async with self._store.transaction() as tx:
            for volume_id in volume_ids:
                try:
                    found[volume_id] = await tx.volumes.get(VolumeId(volume_id))
                except NotFound:
                    continue
        return found

    async def get_or_create(self, wanted: WantedVolume) -> Volume:
        wanted = replace(wanted, environment=(await self._environments.get(wanted.environment)).name)
        async with self._store.transaction() as tx:
            volume = await self._put_ephemeral(tx, wanted) if wanted.creation is Creation.EPHEMERAL else await self._named(tx, wanted)
        await self._files.create(volume.id)
        return volume

    async def list(self, environment: str, *, limit: int, created_before: float) -> Sequence[Volume]:
        """Newest first. 0 stands for no limit, and for now."""
        space = await self._environments.get(environment)
        async with self._store.transaction() as tx:
            found = await tx.volumes.list(space.name)
        older = [volume for volume in found if not created_before or volume.created_at.timestamp() < created_before]
        return older[:limit] if limit else older

    async def rename(self, volume_id: VolumeId, name: str) -> None:
        """Functions that mount it go on to: they know it by its id."""
        async with self._store.transaction() as tx:
            volume = await tx.volumes.get(volume_id)
            if volume.is_ephemeral:
                msg = "An ephemeral volume has no name, and gets none."
                raise InvalidRequest(msg)
            found = await tx.volumes.find(volume.environment, checked_name(name, "volume"))
            if found is not None and found.id != volume.id:
                raise _taken(found)
            await tx.volumes.put(replace(volume, name=name))

    async def delete(self, volume_id: VolumeId) -> None:
        """With all that is in it, also where containers have it mounted: they see it empty from then on, and no other will start with it."""
        await self.get(volume_id)
        await self._files.delete(volume_id)
        async with self._store.transaction() as tx:
            await tx.volumes.delete(volume_id)
        self._heard.pop(volume_id, None)

    async def heartbeat(self, volume_id: VolumeId) -> None:
        await self.get(volume_id)
        self._heard[volume_id] = self._clock.now()

    async def expire(self) -> None:
        """Delete ephemeral volumes of clients that have been silent for too long. What an earlier engine heard counts until now."""
        now = self._clock.now()
        async with self._store.transaction() as tx:
            found = await tx.volumes.ephemeral()
        for volume in found:
            if now - self._heard.setdefault(volume.id, now) > EPHEMERAL_LIFE:
                await self.delete(volume.id)

    async def _named(self, tx: Transaction, wanted: WantedVolume) -> Volume:
        """The named volume that the creation type asks for."""
        found = await tx.volumes.find(wanted.environment, checked_name(wanted.name, "volume"))
        match wanted.creation, found:
            case Creation.LOOK_UP, None:
                msg = (
                    f"No volume named {wanted.name!r} in environment {wanted.environment!r}. "
                    f"Create it with: modal volume create -e {wanted.environment} {wanted.name}, or create_if_missing=True"
                )
                raise NotFound(msg)
            case ((Creation.LOOK_UP | Creation.IF_MISSING), Volume() as existing):
                return existing
            case Creation.MUST_BE_NEW, Volume() as existing:
                raise _taken(existing)
            case ((Creation.IF_MISSING | Creation.MUST_BE_NEW), None):
                return await self._put(tx, wanted)
        msg = "A volume is looked up, or made with a name, or ephemeral; it is neither replaced nor owned by an app."
        raise InvalidRequest(msg)

    async def _put_ephemeral(self, tx: Transaction, wanted: WantedVolume) -> Volume:
        if wanted.name:
            msg = "An ephemeral volume has no name."
            raise InvalidRequest(msg)
        volume = await self._put(tx, wanted)
        self._heard[volume.id] = self._clock.now()
        return volume

    async def _put(self, tx: Transaction, wanted: WantedVolume) -> Volume:
        version = wanted.version or _VERSIONS[0]
        if version not in _VERSIONS:
            msg = f"This engine does not know volumes of version {version}: the client may be newer than the engine."
            raise InvalidRequest(msg)
        volume = Volume(id=new_volume_id(), environment=wanted.environment, name=wanted.name, version=version, created_at=self._clock.now())
        await tx.volumes.put(volume)
        return volume


def _taken(found: Volume) -> AlreadyExists:
    return AlreadyExists(f"There is a volume named {found.name!r} in environment {found.environment!r} already.")
