"""Deployments: published, brought back, rolled over, promoted; each is over when new tasks have taken the place of old ones."""

from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from modal_proto import api_pb2

from freehold.control.services.apps import Apps, Publication
from freehold.control.services.functions import Functions
from freehold.control.services.tasks import Tasks
from freehold.control.wakeups import Wakeup
from freehold.domain.apps import App, AppState, Deployment, DeploymentKind, Layout
from freehold.domain.clock import Clock
from freehold.domain.deployments import promotion_target, rollback_target
from freehold.domain.errors import Conflict, NotFound
from freehold.domain.functions import FunctionSpec
from freehold.domain.ids import AppId, DefinitionId, FunctionId, new_definition_id
from freehold.domain.tasks import TaskState
from freehold.store.ports import Content, Store, Transaction
from freehold.wire import functions as wire

_TAKEOVER = 10.0  # seconds that a publication waits for new tasks to take over; slower starts go on behind it


class Deployments:
    def __init__(
        self, *, store: Store, content: Content, apps: Apps, functions: Functions, tasks: Tasks, clock: Clock, changed: Wakeup
    ) -> None:
        self._store = store
        self._content = content
        self._apps = apps
        self._functions = functions
        self._tasks = tasks
        self._clock = clock
        self._changed = changed

    async def publish(self, app_id: AppId, publication: Publication) -> tuple[App, Deployment]:
        """What a client deploys. Returns when new tasks serve, where old ones did and the new ones start quickly."""
        app, deployment = await self._apps.publish(app_id, publication)
        if not publication.is_staged:
            await self._wait_for_takeover(app_id)
        return app, deployment

    async def roll_back(self, app_id: AppId, version: int | None, *, actor: str = "") -> tuple[App, Deployment]:
        """Bring a version back, as a new one: the one before the live one unless another is named."""
        app, live = await self._live(app_id)
        target = rollback_target(await self._apps.history(app_id), live.version, version)
        return await self._bring(app, target, target.layout, DeploymentKind.ROLLBACK, actor)

    async def promote(self, app_id: AppId, version: int, *, actor: str = "") -> tuple[App, Deployment]:
        app = await self._apps.get_live(app_id)
        target = promotion_target(await self._apps.history(app_id), version)
        return await self._bring(app, target, target.layout, DeploymentKind.PROMOTION, actor)

    async def roll_over(self, app_id: AppId, *, actor: str = "") -> tuple[App, Deployment]:
        """The live version again, for new tasks: its definitions get new ids, which makes all tasks outdated."""
        app, live = await self._live(app_id)
        return await self._bring(app, live, await self._copy(live.layout), DeploymentKind.ROLLOVER, actor)

    async def _live(self, app_id: AppId) -> tuple[App, Deployment]:
        app = await self._apps.get_live(app_id)
        live = await self._apps.live_deployment(app_id)
        if live is None:
            msg = f"App {app.name or app.description!r} has no version that is live. Deploy it, or promote a staged one."
            raise Conflict(msg)
        return app, live

    async def _bring(self, app: App, source: Deployment, layout: Layout, kind: DeploymentKind, actor: str) -> tuple[App, Deployment]:
        if app.state is not AppState.DEPLOYED:
            msg = f"App {app.name or app.description!r} is {app.state}, not deployed: only deployed apps have versions to choose from."
            raise Conflict(msg)
        await self._check_whole(source)
        publication = Publication(
            state=AppState.DEPLOYED,
            layout=layout,
            name=app.name or "",
            tag=source.tag,
            client_version=source.client_version,
            commit_info=source.commit_info,
            kind=kind,
            rollback_of=source.version,
            replaces=app.version,
            actor=actor,
        )
        return await self.publish(app.id, publication)

    async def _copy(self, layout: Layout) -> Layout:
        copies: dict[FunctionId, DefinitionId] = {}
        async with self._store.transaction() as tx:
            for function_id, definition_id in layout.definition_ids.items():
                copy = replace(await tx.functions.get_definition(definition_id), id=new_definition_id(), created_at=self._clock.now())
                await tx.functions.put_definition(copy)
                copies[function_id] = copy.id
        return replace(layout, definition_ids=copies)

    async def _check_whole(self, source: Deployment) -> None:
        """Refuse before anything is switched if what the version's tasks start from is not here any more."""
        if lacking := await self._lacking(source.layout):
            msg = f"v{source.version} cannot run any more: {'; '.join(lacking[:5])}. Nothing was changed. Deploy its code again."
            raise Conflict(msg)

    async def _lacking(self, layout: Layout) -> list[str]:
        """What the definitions of a layout need and the engine does not have, in words."""
        lacking: list[str] = []
        owners: dict[str, str] = {}  # digest of a file → the function that mounts it
        async with self._store.transaction() as tx:
            for definition_id in layout.definition_ids.values():
                message = api_pb2.Function.FromString((await tx.functions.get_definition(definition_id)).payload)
                tag, spec = message.function_name.removesuffix(".*"), wire.spec_of(message)
                lacking += [f"{tag} needs {what}" for what in await _unknown(tx, spec)]
                owners |= dict.fromkeys(await _digests(tx, spec), tag)
        missing = await self._content.missing(sorted(owners))
        tags = sorted({owners[digest] for digest in missing})
        return lacking + [f"{tag} needs files that were uploaded with it and are gone" for tag in tags]

    async def _wait_for_takeover(self, app_id: AppId) -> None:
        deadline = self._clock.monotonic() + _TAKEOVER
        while self._is_taking_over(app_id):
            generation = self._changed.generation
            if not await self._changed.wait(generation, deadline - self._clock.monotonic()):
                return

    def _is_taking_over(self, app_id: AppId) -> bool:
        """Whether an outdated task takes inputs while its successor may be on its way."""
        return any(
            live.task.app_id == app_id
            and live.state is TaskState.READY
            and not live.is_stopping
            and (function := self._functions.known(live.task.function_id)) is not None
            and live.task.definition_id != function.definition_id
            and self._tasks.may_start(function.id)
            for live in self._tasks.all()
        )


async def _unknown(tx: Transaction, spec: FunctionSpec) -> list[str]:
    """Objects that a function names and that do not exist (any more)."""
    gone = [f"the secret {secret_id}, which was deleted" for secret_id in spec.secret_ids if not await _exists(tx.secrets.get(secret_id))]
    gone += [f"the mount {mount_id}, which is gone" for mount_id in spec.mount_ids if not await _exists(tx.mounts.get(mount_id))]
    if not await _exists(tx.images.get(spec.image_id)):
        gone.append(f"the image {spec.image_id}, which is gone")
    return gone


async def _exists(look_up: Coroutine[Any, Any, object]) -> bool:
    try:
        await look_up
    except NotFound:
        return False
    return True


async def _digests(tx: Transaction, spec: FunctionSpec) -> set[str]:
    """Of all files that a function's mounts show."""
    found: set[str] = set()
    for mount_id in spec.mount_ids:
        if await _exists(tx.mounts.get(mount_id)):
            found |= {file.digest for file in (await tx.mounts.get(mount_id)).tree.files}
    return found
