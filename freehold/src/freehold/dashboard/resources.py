"""What functions use, and the engine's own: secrets (names, never values), volumes, the machine, settings and tokens."""

from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from freehold.dashboard.costs import pricing_of
from freehold.dashboard.parts import Parts
from freehold.dashboard.views import Views
from freehold.domain.ids import VolumeId
from freehold.domain.volumes import Entry

_ENTRIES = 500
_TASKS = 200


class ResourcePages:
    def __init__(self, parts: Parts, views: Views) -> None:
        self._parts = parts
        self._views = views
        self.routes = [
            Route("/secrets", self._secrets),
            Route("/volumes", self._volumes),
            Route("/volumes/{volume_id}", self._volume),
            Route("/machines", self._machines),
            Route("/settings", self._settings),
        ]

    async def _secrets(self, request: Request) -> Response:
        """What pages get has no values: not even sealed ones."""
        spaces = [space.name for space in await self._parts.environments.list()]
        found = [secret for name in spaces for secret in await self._parts.secrets.list(name, limit=0, created_before=0)]
        rows = [
            {
                "id": secret.id,
                "name": secret.name,
                "environment": secret.environment,
                "keys": secret.keys,
                "created_at": secret.created_at,
                "last_used_at": secret.last_used_at,
            }
            for secret in found
        ]
        return self._views.page(request, "secrets", secrets=rows)

    async def _volumes(self, request: Request) -> Response:
        spaces = [space.name for space in await self._parts.environments.list()]
        found = [volume for name in spaces for volume in await self._parts.volumes.list(name, limit=0, created_before=0)]
        return self._views.page(request, "volumes", volumes=found)

    async def _volume(self, request: Request) -> Response:
        volume = await self._parts.volumes.get(VolumeId(request.path_params["volume_id"]))
        folder = request.query_params.get("path", "/")
        entries: list[Entry] = []
        async with aclosing(self._parts.volume_files.entries(volume.id, folder, recursive=False, limit=_ENTRIES)) as batches:
            async for batch in batches:
                entries += batch
        parent = folder.strip("/").rpartition("/")[0] if folder.strip("/") else None
        entries.sort(key=lambda entry: (entry.kind != 2, entry.path))  # noqa: PLR2004 — folders first
        return self._views.page(request, "volume", volume=volume, folder=folder, parent=parent, entries=entries, most=_ENTRIES)

    async def _machines(self, request: Request) -> Response:
        [machine] = self._parts.machines.fleet().machines
        tasks = sorted(self._parts.tasks.all(), key=lambda live: live.wanted_at)[:_TASKS]
        return self._views.page(
            request,
            "machines",
            machine=machine,
            status=self._parts.status(),
            tasks=tasks,
            names=await self._parts.listings.app_names([live.task.app_id for live in tasks]),
            tags=await self._parts.listings.tags([live.task.function_id for live in tasks]),
            uses={live.id: points[-1] for live in tasks if (points := self._parts.usage.samples(live.id))},
        )

    async def _settings(self, request: Request) -> Response:
        settings = self._parts.settings
        sources = settings.sources()
        rows = [
            (name, str(getattr(settings, name)), sources[name], field.description or "")
            for name, field in type(settings).model_fields.items()
        ]
        return self._views.page(
            request,
            "settings",
            rows=rows,
            pricing=await pricing_of(self._parts),
            environments=await self._parts.environments.list(),
            status=self._parts.status(),
        )
