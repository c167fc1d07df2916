"""Apps: created, published in numbered versions, kept alive by their clients' heartbeats, stopped."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from modal_proto import api_pb2

from freehold.control.services.calls import Calls
from freehold.control.services.environments import Environments
from freehold.control.services.functions import Functions
from freehold.control.services.journal import Journal
from freehold.control.services.schedules import Schedules
from freehold.control.services.tasks import LiveTask, Tasks
from freehold.control.wakeups import Wakeup
from freehold.domain.apps import App, AppState, Deployment, DeploymentKind, Layout, move
from freehold.domain.clock import Clock
from freehold.domain.deployments import next_version
from freehold.domain.errors import Conflict, InvalidRequest, NotFound
from freehold.domain.functions import Function
from freehold.domain.ids import AppId, ClassId, FunctionId, new_app_id
from freehold.store.ports import Store, Transaction
from freehold.wire.functions import is_web, summary

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")
_HEARTBEAT_LIMIT = 60.0  # seconds without one before an ephemeral app is taken for abandoned; the client sends one every 15 s


_EVENTS = {
    DeploymentKind.STANDARD: "app_published",
    DeploymentKind.STAGED: "app_staged",
    DeploymentKind.ROLLBACK: "app_rolled_back",
    DeploymentKind.ROLLOVER: "app_rolled_over",
    DeploymentKind.PROMOTION: "app_promoted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What a client publishes: a layout under a state, and for deployments a name and words about them."""

    state: AppState | None  # None keeps the present one (`modal serve` after a change)
    layout: Layout
    name: str = ""
    tag: str = ""
    client_version: str = ""
    commit_info: bytes = b""
    tags: Mapping[str, str] | None = None
    kind: DeploymentKind = DeploymentKind.STANDARD
    rollback_of: int = 0  # the version whose layout this is
    replaces: int | None = None  # the version that must be live; None: whichever is
    actor: str = ""  # who wants it, for the record

    @property
    def is_staged(self) -> bool:
        return self.kind is DeploymentKind.STAGED


class Apps:
    def __init__(
        self,
        *,
        store: Store,
        environments: Environments,
        functions: Functions,
        calls: Calls,
        schedules: Schedules,
        tasks: Tasks,
        journal: Journal,
        clock: Clock,
        changed: Wakeup,
    ) -> None:
        self._store = store
        self._environments = environments
        self._functions = functions
        self._calls = calls
        self._schedules = schedules
        self._tasks = tasks
        self._journal = journal
        self._clock = clock
        self._changed = changed
        self._heard: dict[AppId, float] = {}  # ephemeral apps: monotonic time of the last heartbeat
        self._left_alone: set[AppId] = set()  # detached apps whose client has left: they end with their work
        self._ending: set[AppId] = set()  # stopped, but some of their tasks still run
        self._published: set[AppId] = set()  # deployed lately
        self._publishing = asyncio.Lock()

    async def create(self, *, environment: str, description: str, state: AppState, client_version: str, tags: Mapping[str, str]) -> App:
        space = await self._environments.get(environment)
        app = App(
            id=new_app_id(),
            environment=space.name,
            description=description,
            state=state,
            created_at=self._clock.now(),
            tags=dict(tags),
            client_version=client_version,
        )
        async with self._store.transaction() as tx:
            await tx.apps.put(app)
        self._heard[app.id] = self._clock.monotonic()
        self._journal.event(app.id, "app_created", cause=state)
        return app

    async def get(self, app_id: AppId) -> App:
        async with self._store.transaction() as tx:
            return await tx.apps.get(app_id)

    async def get_live(self, app_id: AppId) -> App:
        """The app, to add to it or run it. Raises Conflict when it has stopped."""
        return _checked_live(await self.get(app_id))

    async def find_deployed(self, environment: str, name: str) -> App | None:
        space = await self._environments.get(environment)
        async with self._store.transaction() as tx:
            return await tx.apps.find_deployed(space.name, name)

    async def get_deployed(self, environment: str, name: str) -> App:
        app = await self.find_deployed(environment, name)
        if app is None:
            place = f"environment {environment!r}" if environment else "the default environment"
            msg = f"No app named {name!r} is deployed in {place}. `modal app list` shows what is; `modal deploy` deploys one."
            raise NotFound(msg)
        return app

    async def get_or_create(self, environment: str, name: str, *, create: bool, client_version: str) -> App:
        """`App.lookup`: an app by name, made empty and deployed if it may be."""
        app = await self.find_deployed(environment, name)
        if app is not None:
            return app
        if not create:
            return await self.get_deployed(environment, name)
        made = await self.create(
            environment=environment, description=name, state=AppState.INITIALIZING, client_version=client_version, tags={}
        )
        publication = Publication(state=AppState.DEPLOYED, layout=Layout(), name=name, client_version=client_version)
        return (await self.publish(made.id, publication))[0]

    async def find_stopped(self, environment: str, name: str) -> App | None:
        """The app that stopped last under this name."""
        space = await self._environments.get(environment)
        async with self._store.transaction() as tx:
            return await tx.apps.find_stopped(space.name, name)

    async def list(self, environment: str) -> Sequence[App]:
        space = await self._environments.get(environment)
        async with self._store.transaction() as tx:
            return await tx.apps.list(space.name)

    async def history(self, app_id: AppId) -> Sequence[Deployment]:
        async with self._store.transaction() as tx:
            await tx.apps.get(app_id)
            return await tx.apps.deployments(app_id)

    async def layout(self, app_id: AppId) -> Layout:
        """Of the live version; empty before the first publication."""
        live = await self.live_deployment(app_id)
        return live.layout if live else Layout()

    async def live_deployment(self, app_id: AppId) -> Deployment | None:
        async with self._store.transaction() as tx:
            return await tx.apps.find_deployment(app_id, (await tx.apps.get(app_id)).version)

    async def function_id(self, app: App, tag: str) -> FunctionId:
        """Of the live version. Raises NotFound with what there is instead."""
        return FunctionId(_one_of((await self.layout(app.id)).function_ids, tag, app, "function"))

    async def class_id(self, app: App, tag: str) -> ClassId:
        return ClassId(_one_of((await self.layout(app.id)).class_ids, tag, app, "class"))

    async def publish(self, app_id: AppId, publication: Publication) -> tuple[App, Deployment]:
        """Switch the live version in one transaction: all functions of it or none. A staged version only joins the history."""
        if publication.state is AppState.DEPLOYED:
            _check_name(publication.name)
        async with self._publishing:
            async with self._store.transaction() as tx:
                app, deployment, previous = await self._record(tx, app_id, publication)
            if not publication.is_staged:
                await self._functions.publish(app, publication.layout.definition_ids)
                gone = frozenset(previous.function_ids.values()) - frozenset(publication.layout.function_ids.values())
                await self._retire(gone, "Its function is no longer part of the app.")
        if publication.state is AppState.DEPLOYED and not publication.is_staged:
            self._published.add(app_id)
        fields = {"version": str(deployment.version), "state": app.state}
        if publication.rollback_of:
            fields["layout_of"] = str(publication.rollback_of)
        self._journal.event(app.id, _EVENTS[publication.kind], cause=publication.actor, fields=fields)
        self._changed.notify()
        return app, deployment

    async def cautions(self, app_id: AppId) -> Sequence[str]:
        """What the live version asks for and does not get, in words for the person who deploys it."""
        live = [await self._functions.live(FunctionId(fid)) for fid in (await self.layout(app_id)).function_ids.values()]
        return [
            f"{item.function.tag} answers web requests, so its schedule is not run: there is no request to call it with."
            for item in live
            if item.message.HasField("schedule") and is_web(item.message)
        ]

    async def summaries(self, app: App) -> Mapping[str, api_pb2.AppGetInfoResponse.FunctionInfoSummary]:
        """What `modal app info` says of each function; nothing of an app that has stopped."""
        ids = (await self.layout(app.id)).function_ids.values() if app.is_live else ()
        return {function_id: summary((await self._functions.live(function_id)).message) for function_id in ids}

    async def _record(self, tx: Transaction, app_id: AppId, publication: Publication) -> tuple[App, Deployment, Layout]:
        """The app and its new deployment, with the layout that was live before."""
        app = _checked_live(await tx.apps.get(app_id))
        _check_replaced(app, publication)
        history = await tx.apps.deployments(app_id)
        previous = next((item.layout for item in history if item.version == app.version), Layout())
        state = publication.state or app.state
        if state is AppState.DEPLOYED:
            await self._take_name(tx, app, publication.name)
        app = replace(move(app, state, self._clock.now()), name=publication.name or app.name)
        deployment = Deployment(
            app_id=app.id,
            version=next_version(history),
            deployed_at=self._clock.now(),
            client_version=publication.client_version,
            layout=publication.layout,
            tag=publication.tag,
            kind=publication.kind,
            rollback_of=publication.rollback_of,
            commit_info=publication.commit_info,
        )
        functions = await _owned(tx, app, publication.layout)
        if not publication.is_staged:
            app = await self._switch(tx, app, functions, deployment, publication.tags)
        await tx.apps.put(app)
        await tx.apps.put_deployment(deployment)
        if not publication.is_staged:
            await self._schedules.follow(tx, app, publication.layout)
        return app, deployment, previous

    async def _switch(
        self, tx: Transaction, app: App, functions: Mapping[FunctionId, Function], deployment: Deployment, tags: Mapping[str, str] | None
    ) -> App:
        """The app with this deployment live."""
        for function_id, definition_id in deployment.layout.definition_ids.items():
            await tx.functions.put(replace(functions[function_id], live_definition_id=definition_id))
        if deployment.kind is not DeploymentKind.ROLLOVER:
            await self._functions.end_overrides(tx, app.id)
        for tag, class_id in deployment.layout.class_ids.items():
            await self._functions.name_class(tx, ClassId(class_id), tag)
        return replace(
            app,
            version=deployment.version,
            tags=tags if tags is not None else app.tags,
            client_version=deployment.client_version or app.client_version,
        )

    async def _take_name(self, tx: Transaction, app: App, name: str) -> None:
        holder = await tx.apps.find_deployed(app.environment, name)
        if holder is not None and holder.id != app.id:
            msg = f"Another deploy of {name!r} finished first. Deploy again to replace it."
            raise Conflict(msg)

    async def stop(self, app_id: AppId, reason: str) -> App:
        """Nothing of the app runs any more; its waiting inputs end, its tasks leave in good order."""
        async with self._publishing, self._store.transaction() as tx:
            app = await tx.apps.get(app_id)
            if app.is_live:
                app = move(app, AppState.STOPPED, self._clock.now())
                await tx.apps.put(app)
                await self._schedules.follow(tx, app, Layout())
                self._journal.event(app_id, "app_stopped", cause=reason)
            function_ids = frozenset(function.id for function in await tx.functions.of_app(app_id))
        self._heard.pop(app_id, None)
        await self._retire(function_ids, "The app was stopped.")
        for live in self._tasks.all():
            if live.task.app_id == app_id:
                self._end(live)
        self._ending.add(app_id)
        self._changed.notify()
        return app

    def _end(self, live: LiveTask) -> None:
        """What runs an input is interrupted; what waits is told to leave. Exit hooks run either way."""
        if live.load:
            self._tasks.stop(live, "its app has stopped")
        else:
            self._tasks.drain(live, "its app has stopped")

    def take_published(self) -> set[AppId]:
        """Those that got a version since this was last asked."""
        published, self._published = self._published, set()
        return published

    def take_ended(self) -> set[AppId]:
        """Stopped apps whose last task has ended since the last time this was asked."""
        running = {live.task.app_id for live in self._tasks.all()}
        ended = self._ending - running
        self._ending &= running
        return ended

    async def is_over(self, app_id: AppId) -> bool:
        """Whether the app has stopped and nothing of it runs."""
        is_live = (await self.get(app_id)).is_live
        return not is_live and all(live.task.app_id != app_id for live in self._tasks.all())

    async def disconnect(self, app_id: AppId, reason: str) -> None:
        """Its client leaves: an app that lives by its client stops, a deployed or detached one goes on."""
        app = await self.get(app_id)
        self._heard.pop(app_id, None)
        match app.state:
            case AppState.EPHEMERAL | AppState.INITIALIZING:
                await self.stop(app_id, reason)
            case AppState.DETACHED:
                self._left_alone.add(app_id)
                self._changed.notify()

    async def set_tags(self, app_id: AppId, tags: Mapping[str, str]) -> None:
        async with self._store.transaction() as tx:
            await tx.apps.put(replace(await tx.apps.get(app_id), tags=tags))

    def heartbeat(self, app_id: AppId) -> None:
        self._heard[app_id] = self._clock.monotonic()

    async def stop_abandoned(self) -> None:
        """Stop ephemeral apps whose client has been silent for too long."""
        limit = self._clock.monotonic() - _HEARTBEAT_LIMIT
        for app_id in list(self._heard):
            if self._heard.get(app_id, limit) < limit:  # asked anew for each: a heartbeat may come while another app stops
                await self.disconnect(app_id, "client gone")

    async def stop_finished(self) -> None:
        """Stop detached apps that were left alone and have nothing more to do."""
        for app_id in [app_id for app_id in self._left_alone if not self._calls.has_unfinished(app_id)]:
            self._left_alone.discard(app_id)
            await self.stop(app_id, "its work is done")

    async def restore(self) -> None:
        """After a start of the engine: routes and schedules of what is deployed; ephemeral apps get a while to be heard from."""
        async with self._store.transaction() as tx:
            apps = await tx.apps.list_live()
        for app in apps:
            if app.state is not AppState.DEPLOYED:
                self._heard[app.id] = self._clock.monotonic()
            layout = await self.layout(app.id)
            async with self._store.transaction() as tx:
                await self._schedules.follow(tx, app, layout)
            for function_id in layout.function_ids.values():
                await self._functions.route(app, FunctionId(function_id))
        await self._functions.restore_overrides()

    async def _retire(self, function_ids: frozenset[FunctionId], text: str) -> None:
        for function_id in {*self._functions.retire(function_ids), *function_ids}:
            await self._calls.stop_function(function_id, text)


def _checked_live(app: App) -> App:
    if not app.is_live:
        msg = f"App {app.name or app.description!r} ({app.id}) has stopped. Deploy or run it again."
        raise Conflict(msg)
    return app


def _check_replaced(app: App, publication: Publication) -> None:
    if publication.replaces is not None and app.version != publication.replaces:
        msg = (
            f"Another deployment of {app.name!r} finished meanwhile: v{app.version} is live now. Look at `modal app history` and try again."
        )
        raise Conflict(msg)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        msg = f"{name!r} cannot be an app's name: use letters, digits, '-', '_' and '.', at most 64, starting with a letter or digit."
        raise InvalidRequest(msg)


def _one_of(ids: Mapping[str, str], tag: str, app: App, kind: str) -> str:
    if tag in ids:
        return ids[tag]
    cls = f"{tag.partition('.')[0]}.*"
    if cls in ids:
        msg = f"{tag!r} is of a class, whose methods share one function: its name is {cls!r}, and in Python modal.Cls.from_name finds it."
        raise NotFound(msg)
    there = ", ".join(sorted(name.removesuffix(".*") for name in ids)) or "none"
    msg = f"App {app.name!r} has no {kind} {tag!r}. It has: {there}."
    raise NotFound(msg)


async def _owned(tx: Transaction, app: App, layout: Layout) -> Mapping[FunctionId, Function]:
    """The functions of a layout. An app publishes what was made for it, and a function its own definitions."""
    functions = {fid: await tx.functions.get(fid) for fid in {*layout.function_ids.values(), *layout.definition_ids}}
    for function_id, function in functions.items():
        if function.app_id != app.id:
            msg = f"Function {function_id} belongs to another app. Deploy {app.description!r} again."
            raise InvalidRequest(msg)
    for function_id, definition_id in layout.definition_ids.items():
        definition = await tx.functions.get_definition(definition_id)
        if definition.function_id != function_id:
            msg = f"Definition {definition_id} is not one of function {function_id}. Deploy {app.description!r} again."
            raise InvalidRequest(msg)
    return functions
