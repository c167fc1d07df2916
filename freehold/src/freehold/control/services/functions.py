"""Functions and classes: created by a deploy, switched by its publication, bound to parameters and options by their callers."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from modal_proto import api_pb2

from freehold.control.services.machines import Machines
from freehold.control.services.tasks import Tasks
from freehold.control.services.web_routes import WebRoutes
from freehold.control.wakeups import Wakeup
from freehold.domain import overrides
from freehold.domain.apps import App
from freehold.domain.clock import Clock
from freehold.domain.environments import Environment
from freehold.domain.errors import InvalidRequest, NotFound
from freehold.domain.functions import AutoscalerSettings, Definition, Function, FunctionSpec, UserClass
from freehold.domain.ids import AppId, ClassId, DefinitionId, FunctionId, new_class_id, new_definition_id, new_function_id
from freehold.domain.overrides import AutoscalerOverride
from freehold.domain.schedules import check as check_schedule
from freehold.domain.volumes import check_mounts
from freehold.store.ports import Store, Transaction
from freehold.wire import functions as wire
from freehold.wire.volumes import mounts_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFunction:
    """A function as it runs now: its live definition with its own options applied, read once."""

    function: Function
    definition_id: DefinitionId
    message: api_pb2.Function
    spec: FunctionSpec
    web_urls: Mapping[str, str]

    @property
    def id(self) -> FunctionId:
        return self.function.id


class Functions:
    def __init__(
        self,
        *,
        store: Store,
        routes: WebRoutes,
        tasks: Tasks,
        machines: Machines,
        clock: Clock,
        demand: Wakeup,
        max_inline_bytes: int,
    ) -> None:
        self._store = store
        self._routes = routes
        self._tasks = tasks
        self._machines = machines
        self._clock = clock
        self._demand = demand
        self._max_inline = max_inline_bytes
        self._live: dict[FunctionId, LiveFunction] = {}
        self._variants: dict[FunctionId, set[FunctionId]] = {}  # of those, by what they are bound to
        self._overrides: dict[FunctionId, AutoscalerOverride] = {}
        self._min_kept: set[FunctionId] = set()  # functions that want tasks without inputs

    async def precreate(self, app: App, request: api_pb2.FunctionPrecreateRequest) -> tuple[Function, api_pb2.FunctionHandleMetadata]:
        """An id before there is a definition, so that functions of one app can refer to each other."""
        tag = _tag(request.function_name)
        async with self._store.transaction() as tx:
            function = await self._existing(tx, app.id, tag, request.existing_function_id)
            environment = await tx.environments.get(app.environment)
            await tx.functions.put(function)
        message = api_pb2.Function(
            function_name=request.function_name,
            function_type=request.function_type,
            webhook_config=request.webhook_config,
            method_definitions=request.method_definitions,
            function_schema=request.function_schema,
            supported_input_formats=request.supported_input_formats,
            supported_output_formats=request.supported_output_formats,
        )
        urls = self._routes.urls(app, environment, message)
        return function, self._metadata(function, message, "", urls)

    async def create(self, app: App, message: api_pb2.Function, existing_id: str) -> LiveFunction:
        """A new definition. It goes live with the publication of its app; a function's first one at once."""
        spec = self._check(message)
        self._routes.check(message)
        async with self._store.transaction() as tx:
            function = await self._existing(tx, app.id, _tag(message.function_name), existing_id)
            environment = await tx.environments.get(app.environment)
            await _check_volumes(tx, message)
            definition = Definition(
                id=new_definition_id(), function_id=function.id, payload=message.SerializeToString(), created_at=self._clock.now()
            )
            await tx.functions.put_definition(definition)
            if function.live_definition_id is None:
                function = replace(function, live_definition_id=definition.id)
            await tx.functions.put(function)
        urls = self._routes.urls(app, environment, message)
        return LiveFunction(function=function, definition_id=definition.id, message=message, spec=spec, web_urls=urls)

    async def create_class(self, app: App, request: api_pb2.ClassCreateRequest) -> UserClass:
        """Classes carry no code of their own: the id stands for the service function `Name.*`, found by the app's layout."""
        existing = ClassId(request.existing_class_id)
        user_class = UserClass(id=existing or new_class_id(), app_id=app.id, tag="", payload=request.SerializeToString())
        async with self._store.transaction() as tx:
            if existing and (await tx.functions.get_class(existing)).app_id != app.id:
                msg = f"Class {existing} belongs to another app."
                raise InvalidRequest(msg)
            await tx.functions.put_class(user_class)
        return user_class

    async def name_class(self, tx: Transaction, class_id: ClassId, tag: str) -> None:
        await tx.functions.put_class(replace(await tx.functions.get_class(class_id), tag=tag))

    async def of_class(self, class_id: ClassId) -> FunctionId:
        """The function that stands for all methods of the class. Raises NotFound."""
        async with self._store.transaction() as tx:
            found = await tx.functions.get_class(class_id)
            functions = await tx.functions.of_app(found.app_id)
        for function in functions:
            if function.tag == f"{found.tag}.*" and not function.is_bound:
                return function.id
        msg = f"Class {class_id} is not deployed (any more)."
        raise NotFound(msg)

    async def variants_of(self, app_id: AppId, function_id: FunctionId) -> set[FunctionId]:
        """The function itself, and what was made of it with parameters or options."""
        async with self._store.transaction() as tx:
            functions = await tx.functions.of_app(app_id)
        return {function_id, *(function.id for function in functions if function.base_id == function_id)}

    async def bind(self, function_id: FunctionId, request: api_pb2.FunctionBindParamsRequest) -> LiveFunction:
        """The same function with parameters or options: equal requests give the same id."""
        options = request.function_options.SerializeToString(deterministic=True) if request.HasField("function_options") else b""
        async with self._store.transaction() as tx:
            base = await tx.functions.get(function_id)
            base_id = base.base_id or base.id
            params = request.serialized_params or base.serialized_params
            bound = await tx.functions.find_bound(base_id, params, options or base.options)
            if bound is None:
                root = await tx.functions.get(base_id)
                bound = replace(root, id=new_function_id(), base_id=base_id, serialized_params=params, options=options or base.options)
                message = wire.effective(await _live_definition(tx, root), bound)
                self._check(message)
                await _check_volumes(tx, message)
                await tx.functions.put(bound)
        return await self.live(bound.id)

    async def live(self, function_id: FunctionId) -> LiveFunction:
        """The function as it runs now. Raises NotFound."""
        found = self._live.get(function_id)
        if found is None:
            loaded, override = await self._load(function_id)
            found = self._live.setdefault(function_id, loaded)  # a publication may have brought a newer one meanwhile
            if override is not None and found is loaded:
                self._overrides[function_id] = override
            self._note(found)
        return found

    def known(self, function_id: FunctionId) -> LiveFunction | None:
        """The function if it has been used since the start; without waiting."""
        return self._live.get(function_id)

    def known_variants(self, base_id: FunctionId) -> Collection[FunctionId]:
        """Those bound to it that have been used since the start; without waiting."""
        return self._variants.get(base_id, ())

    def autoscaler_of(self, live: LiveFunction) -> AutoscalerSettings:
        """Its settings, as the definition says or as they were changed since."""
        return overrides.apply(live.spec.autoscaler, self.override_of(live))

    def override_of(self, live: LiveFunction) -> AutoscalerOverride:
        """What was changed of its settings since its deploy."""
        return self._overrides.get(live.id) or AutoscalerOverride()

    async def override_autoscaler(self, live: LiveFunction, override: AutoscalerOverride) -> None:
        """Holds until the next deploy of its app, over restarts too."""
        async with self._store.transaction() as tx:
            await tx.overrides.put(live.id, override)
        self._overrides[live.id] = override
        self._note_minimum(live)
        self._demand.notify()

    async def end_overrides(self, tx: Transaction, app_id: AppId) -> None:
        """A deploy: what its definitions say holds again. Called inside the publication of an app."""
        await tx.overrides.delete([function.id for function in await tx.functions.of_app(app_id)])

    async def restore_overrides(self) -> None:
        """After a start of the engine: a changed min_containers wants its tasks before anybody calls."""
        async with self._store.transaction() as tx:
            function_ids = await tx.overrides.function_ids()
        for function_id in function_ids:
            with suppress(NotFound):  # its app has stopped
                await self.live(function_id)

    async def bound_to(self, base_id: FunctionId) -> Sequence[Function]:
        """Its variants: each with parameters or options of its own."""
        async with self._store.transaction() as tx:
            await tx.functions.get(base_id)
            return await tx.functions.bound_to(base_id)

    def wanting_tasks(self) -> frozenset[FunctionId]:
        """Functions that want tasks even without inputs."""
        return frozenset(self._min_kept)

    async def variants(self, function: Function) -> list[FunctionId]:
        """The function and all that is bound to it."""
        async with self._store.transaction() as tx:
            others = await tx.functions.of_app(function.app_id)
        return [function.id, *(other.id for other in others if other.base_id == function.id)]

    async def get_class(self, class_id: ClassId) -> UserClass:
        async with self._store.transaction() as tx:
            return await tx.functions.get_class(class_id)

    async def publish(self, app: App, definition_ids: Mapping[FunctionId, DefinitionId]) -> None:
        """Make these definitions live. Called inside the publication of an app, after its transaction has committed."""
        bound = [live.id for live in self._live.values() if live.function.base_id in definition_ids]
        for function_id in (*definition_ids, *bound):
            await self._renew(function_id)
        for function_id in definition_ids:
            await self.route(app, function_id)
        self._demand.notify()

    async def _renew(self, function_id: FunctionId) -> None:
        """Known before and after: a function that nobody knows would lose its tasks."""
        loaded, override = await self._load(function_id)
        if function_id in self._live:
            self._forget(function_id)
        self._live[function_id] = loaded
        if override is not None:
            self._overrides[function_id] = override
        self._note(loaded)

    async def route(self, app: App, function_id: FunctionId) -> None:
        live = await self.live(function_id)
        environment = await self._environment(app)
        self._routes.publish(app, environment, live.function, live.message)

    def retire(self, function_ids: "frozenset[FunctionId]") -> list[FunctionId]:
        """These functions (and what is bound to them) serve nothing more; the ids that were in use."""
        gone = [fid for fid, live in self._live.items() if (live.function.base_id or fid) in function_ids]
        for function_id in gone:
            self._forget(function_id)
        for function_id in function_ids:
            self._routes.withdraw(function_id)
        self._demand.notify()
        return gone

    def described(self, app: App, live: LiveFunction) -> api_pb2.Function:
        """Its definition with the addresses that it was given, for the client to print."""
        return wire.described(live.message, live.web_urls, self._routes.domain_urls(app, live.message))

    def handle(self, live: LiveFunction) -> api_pb2.FunctionHandleMetadata:
        return self._metadata(live.function, live.message, live.definition_id, dict(live.web_urls))

    async def _load(self, function_id: FunctionId) -> tuple[LiveFunction, AutoscalerOverride | None]:
        async with self._store.transaction() as tx:
            function = await tx.functions.get(function_id)
            root = await tx.functions.get(function.base_id) if function.base_id else function
            definition = await _live_definition(tx, root)
            app = await tx.apps.get(function.app_id)
            environment = await tx.environments.get(app.environment)
            override = await tx.overrides.find(function_id)
        if not app.is_live:
            msg = f"App {app.name or app.description!r} has stopped, so its functions cannot be called. Deploy or run it again."
            raise NotFound(msg)
        message = wire.effective(definition, function)
        live = LiveFunction(
            function=function,
            definition_id=definition.id,
            message=message,
            spec=wire.spec_of(message),
            web_urls={} if function.is_bound else self._routes.urls(app, environment, message),
        )
        return live, override

    def _check(self, message: api_pb2.Function) -> FunctionSpec:
        """What it asks for, once it is sure that this engine can give that: it is refused at deploy, not found missing at the first call."""
        _check(message)
        spec = wire.spec_of(message)
        self._machines.check(f"Function {message.function_name!r}", spec.resources)
        return spec

    async def _existing(self, tx: Transaction, app_id: AppId, tag: str, existing_id: str) -> Function:
        """The function that a redeploy continues, or a new one."""
        if existing_id:
            function = await tx.functions.get(FunctionId(existing_id))
            if function.app_id != app_id:
                msg = f"Function {existing_id} belongs to another app."
                raise InvalidRequest(msg)
            return function
        return Function(id=new_function_id(), app_id=app_id, tag=tag)

    def _forget(self, function_id: FunctionId) -> None:
        """What was known of its definition, changed of its settings and held against its starts."""
        base_id = self._live.pop(function_id).function.base_id
        if base_id is not None:
            self._variants[base_id].discard(function_id)
            if not self._variants[base_id]:
                del self._variants[base_id]
        self._overrides.pop(function_id, None)
        self._min_kept.discard(function_id)
        self._tasks.forgive(function_id)

    def _note(self, live: LiveFunction) -> None:
        """What is looked for among all that are known."""
        if live.function.base_id is not None:
            self._variants.setdefault(live.function.base_id, set()).add(live.id)
        self._note_minimum(live)

    def _note_minimum(self, live: LiveFunction) -> None:
        if self.autoscaler_of(live).min_containers:
            self._min_kept.add(live.id)
            self._demand.notify()
        else:
            self._min_kept.discard(live.id)

    async def _environment(self, app: App) -> Environment:
        async with self._store.transaction() as tx:
            return await tx.environments.get(app.environment)

    def _metadata(
        self, function: Function, message: api_pb2.Function, definition_id: str, urls: dict[str, str]
    ) -> api_pb2.FunctionHandleMetadata:
        return wire.handle_metadata(function, message, definition_id=definition_id, web_urls=urls, max_inline_bytes=self._max_inline)


async def _live_definition(tx: Transaction, function: Function) -> Definition:
    if function.live_definition_id is None:
        msg = f"Function {function.tag!r} has no code yet: its deployment did not finish. Deploy the app again."
        raise NotFound(msg)
    return await tx.functions.get_definition(function.live_definition_id)


async def _check_volumes(tx: Transaction, message: api_pb2.Function) -> None:
    for mount in mounts_of(message):
        await tx.volumes.get(mount.volume_id)


def _tag(function_name: str) -> str:
    if not function_name or len(function_name) > 256:  # noqa: PLR2004 — far above any identifier
        msg = "A function needs a name of at most 256 characters."
        raise InvalidRequest(msg)
    return function_name


def _check(message: api_pb2.Function) -> None:
    """What no engine gives yet, whatever its machine."""
    if (rule := wire.rule_of(message)) is not None:
        check_schedule(rule)
    if message.cloud_bucket_mounts or message.shared_volume_mounts:
        msg = f"Function {message.function_name!r} mounts a cloud bucket or a network file system. Of these, only volumes are built."
        raise InvalidRequest(msg)
    if message.volume_mounts and message.is_builder_function:
        msg = "Volumes in image builds are not built yet."
        raise InvalidRequest(msg)
    check_mounts(mounts_of(message))
    if message.proxy_id:
        msg = f"Function {message.function_name!r} asks for a proxy, which this engine does not have."
        raise InvalidRequest(msg)
    if message.http_config.HasField("lift_and_shift_config"):
        msg = f"{message.function_name!r} is a server that its image's own command starts, which is not built yet. Use @app.server."
        raise InvalidRequest(msg)
    if message.HasField("http_config") and not message.is_server:
        msg = (
            f"{message.function_name!r} uses @modal.experimental.http_server, which is not built yet. Use @app.server or @modal.web_server."
        )
        raise InvalidRequest(msg)
