"""The services and controllers of one engine over the memory store, with a clock to move and a worker that only listens."""

import asyncio
import hashlib
from dataclasses import replace

from fakes.clock import FakeClock
from modal_proto import api_pb2

from freehold.config import Settings
from freehold.control.caller import Caller
from freehold.control.controllers.autoscaler import Autoscaler
from freehold.control.controllers.builds import Builds
from freehold.control.controllers.liveness import Liveness
from freehold.control.controllers.restart import Restart
from freehold.control.controllers.scheduler import Scheduler
from freehold.control.controllers.schedules import Clockwork
from freehold.control.rpc import inputs_socket
from freehold.control.rpc.auth import Authenticator
from freehold.control.rpc.calls import CallRpcs
from freehold.control.rpc.containers import ContainerRpcs
from freehold.control.services.apps import Apps, Publication
from freehold.control.services.blobs import Blobs
from freehold.control.services.build_functions import BuildFunctions
from freehold.control.services.call_records import CallRecords
from freehold.control.services.calls import Calls
from freehold.control.services.claims import Claims
from freehold.control.services.coldstarts import ColdStarts
from freehold.control.services.cost import Costs
from freehold.control.services.counters import Counters
from freehold.control.services.decisions import Decisions
from freehold.control.services.deployments import Deployments
from freehold.control.services.durable_calls import DurableCalls
from freehold.control.services.environments import Environments
from freehold.control.services.explanations import Explanations
from freehold.control.services.functions import Functions
from freehold.control.services.images import ImageRequest, Images
from freehold.control.services.journal import Journal
from freehold.control.services.lanes import Lanes
from freehold.control.services.launches import Launches
from freehold.control.services.logs import Logs
from freehold.control.services.machines import Machines
from freehold.control.services.mounts import Mounts, WantedMount
from freehold.control.services.scaling import Scaling
from freehold.control.services.schedules import Schedules
from freehold.control.services.secrets import Secrets
from freehold.control.services.stories import Stories
from freehold.control.services.task_history import TaskHistory
from freehold.control.services.tasks import Tasks
from freehold.control.services.trace_contexts import TraceContexts
from freehold.control.services.traces import Traces
from freehold.control.services.usage import UsageBook
from freehold.control.services.volumes import Volumes, WantedVolume
from freehold.control.services.web_calls import WebCalls
from freehold.control.services.web_routes import WebRoutes
from freehold.control.wakeups import Wakeup
from freehold.domain.apps import AppState, Layout
from freehold.domain.calls import CallKind, Invocation
from freehold.domain.creation import Creation
from freehold.domain.files import TreeFile
from freehold.domain.gpus import GpuFallback, counted
from freehold.domain.images import ImageConfig, ImageState
from freehold.domain.placement import Amounts, Machine
from freehold.domain.web import Origin
from freehold.placement.local import LocalReports
from freehold.store.blobs.folder import FolderBlobs
from freehold.store.import_lists import ImportLists
from freehold.store.keyring import Keyring
from freehold.store.logs import LogStore
from freehold.store.memory.store import MemoryStore
from freehold.store.prices import PriceFile
from freehold.store.volumes.folders import VolumeFolders
from freehold.wire.worker import BuiltImage

DEADLINE = 30
PYTHON = ImageConfig(python_series="3.11", python_version="3.11.9")
CALLER = Caller(client_version="1.6.4")


class ListeningWorker:
    """See `wire.worker.WorkerControl`: remembers what it was asked for."""

    def __init__(self) -> None:
        self.desired = {}
        self.builds = []
        self.killed = []
        self.expected = []
        self.left = set()  # what an earlier one left running

    async def adopt(self, candidates):
        return self.left & set(candidates)

    def set_desired(self, tasks):
        self.desired = dict(tasks)

    def expect(self, task):
        self.expected.append(task)

    def build(self, spec):
        self.builds.append(spec)

    async def kill(self, task_id):
        self.killed.append(task_id)


class NoClients:
    """Nobody has a token."""

    def accepts(self, token_id: str, token_secret: str) -> bool:
        return False


class ControlPlane:
    """Everything between RPCs and the worker. The tests play the clients and the tasks."""

    def __init__(  # noqa: PLR0915 — a parts list, as the engine's
        self, home, *, store=None, clock=None, max_tasks=64, gpus=(), gpu_fallback=GpuFallback.REFUSE
    ):
        self.settings = settings = Settings(home=home)
        self.clock = clock = clock or FakeClock()
        self.store = store = store or MemoryStore()
        self.worker = ListeningWorker()
        self.demand = Wakeup()
        self.changed = Wakeup(also=self.demand)
        keyring = Keyring.open(home)
        self.content = FolderBlobs(home / "blobs")
        self.journal = Journal(store=store, clock=clock)
        self.tasks = Tasks(clock=clock, journal=self.journal, changed=self.changed)
        total = Amounts(tasks=max_tasks, milli_cpu=4 * 2000, memory_mib=4096, gpus=counted(gpus))
        self.machines = Machines(
            tasks=self.tasks,
            machine=Machine(id="local", total=total, gpus=tuple(gpus)),
            largest_booking=replace(total, milli_cpu=2000),
            gpu_fallback=gpu_fallback,
        )
        self.counters = Counters(clock)
        self.usage = UsageBook(store=store, tasks=self.tasks, clock=clock, gpus=gpus, counters=self.counters)
        self.prices = PriceFile(home)
        self.costs = Costs(usage=self.usage, prices=self.prices, store=store, clock=clock)
        self.decisions = Decisions(journal=self.journal)
        self.calls = Calls(
            durable=DurableCalls(store=store, clock=clock, journal=self.journal),
            tasks=self.tasks,
            clock=clock,
            demand=self.demand,
            contexts=(contexts := TraceContexts()),
            max_queued_inputs=1000,
        )
        self.tasks.report_ends_to(self.calls)
        self.claims = Claims(calls=self.calls, tasks=self.tasks, clock=clock)
        self.log_store = LogStore(home / "logs", bytes_per_log=settings.log_bytes_per_app)
        self.logs = Logs(store=self.log_store, tasks=self.tasks, clock=clock)
        self.environments = Environments(store=store, clock=clock, settings=settings)
        self.blobs = Blobs(store=store, content=self.content, keyring=keyring, clock=clock, settings=settings)
        self.mounts = Mounts(store=store, content=self.content, blobs=self.blobs, environments=self.environments, clock=clock)
        self.secrets = Secrets(store=store, environments=self.environments, keyring=keyring, clock=clock)
        self.volume_folders = VolumeFolders(home / "volumes", self.content)
        self.volumes = Volumes(store=store, files=self.volume_folders, environments=self.environments, clock=clock)
        self.routes = WebRoutes(workspace="local", domain="localhost", origin=Origin(8980))
        self.functions = Functions(
            store=store,
            routes=self.routes,
            tasks=self.tasks,
            machines=self.machines,
            clock=clock,
            demand=self.demand,
            max_inline_bytes=1024,
        )
        self.call_rpcs = CallRpcs(calls=self.calls, functions=self.functions, tasks=self.tasks)
        self.schedules_changed = Wakeup()
        self.schedules = Schedules(
            store=store,
            functions=self.functions,
            calls=self.calls,
            clock=clock,
            changed=self.schedules_changed,
            grace=settings.schedule_grace,
        )
        self.apps = Apps(
            store=store,
            environments=self.environments,
            functions=self.functions,
            calls=self.calls,
            schedules=self.schedules,
            tasks=self.tasks,
            journal=self.journal,
            clock=clock,
            changed=self.changed,
        )
        self.deployments = Deployments(
            store=store,
            content=self.content,
            apps=self.apps,
            functions=self.functions,
            tasks=self.tasks,
            clock=clock,
            changed=self.changed,
        )
        self.images_wanted = Wakeup()
        self.images = Images(store=store, logs=self.logs, machines=self.machines, clock=clock, wanted=self.images_wanted)
        self.scaling = Scaling(functions=self.functions, calls=self.calls, tasks=self.tasks, machines=self.machines, clock=clock)
        self.records = CallRecords(store=store, calls=self.calls, journal=self.journal)
        self.explanations = Explanations(
            store=store,
            apps=self.apps,
            functions=self.functions,
            calls=self.calls,
            records=self.records,
            tasks=self.tasks,
            history=(history := TaskHistory(tasks=self.tasks, journal=self.journal, store=store)),
            images=self.images,
            decisions=self.decisions,
            journal=self.journal,
            clock=clock,
            default_maximum=16,
        )
        self.stories = Stories(
            store=store,
            apps=self.apps,
            functions=self.functions,
            explanations=self.explanations,
            records=self.records,
            journal=self.journal,
        )
        self.import_lists = ImportLists(home / "imports")
        self.cold_starts = ColdStarts(
            store=store,
            journal=self.journal,
            tasks=self.tasks,
            history=history,
            apps=self.apps,
            functions=self.functions,
            explanations=self.explanations,
            imports=self.import_lists,
        )
        self.traces = Traces(store=store, records=self.records, contexts=contexts, cold_starts=self.cold_starts, clock=clock)
        self.web_calls = WebCalls(routes=self.routes, functions=self.functions, apps=self.apps, calls=self.calls, blobs=self.blobs)
        self.launches = Launches(
            store=store,
            settings=settings,
            apps=self.apps,
            functions=self.functions,
            images=self.images,
            mounts=self.mounts,
            secrets=self.secrets,
            machines=self.machines,
            volumes=self.volumes,
            default_client="1.0.0",
        )
        self.seams = {"inputs", "web"}
        self.lanes = Lanes(
            routes=self.routes,
            functions=self.functions,
            apps=self.apps,
            calls=self.calls,
            tasks=self.tasks,
            clock=clock,
            demand=self.demand,
            tasks_folder=home / "run" / "tasks",
            max_waiting=3,
            seams_of=lambda app: self.seams,
        )
        container_rpcs = ContainerRpcs(claims=self.claims, tasks=self.tasks, apps=self.apps, history=history)
        self.behind_sockets = inputs_socket.Behind(
            claims=self.claims,
            lanes=self.lanes,
            rpcs=inputs_socket.rpcs_of(self.call_rpcs, container_rpcs),
            tokens=self.tasks,
            callers=Authenticator(credentials=NoClients(), tasks=self.tasks),
            reports=self.cold_starts,
        )
        self.build_functions = BuildFunctions(
            images=self.images, apps=self.apps, functions=self.functions, calls=self.calls, tasks=self.tasks, launches=self.launches
        )
        self.reports = LocalReports(
            tasks=self.tasks, usage=self.usage, logs=self.logs, images=self.images, build_functions=self.build_functions
        )
        self.autoscaler = Autoscaler(
            functions=self.functions,
            calls=self.calls,
            tasks=self.tasks,
            claims=self.claims,
            machines=self.machines,
            decisions=self.decisions,
            clock=clock,
            default_maximum=16,
        )
        self.clockwork = Clockwork(schedules=self.schedules, clock=clock)
        self.scheduler = Scheduler(tasks=self.tasks, launches=self.launches, worker=self.worker)
        self.builds = Builds(
            images=self.images,
            mounts=self.mounts,
            secrets=self.secrets,
            functions=self.build_functions,
            machines=self.machines,
            worker=self.worker,
            pids_limit=100,
        )
        self.restart = Restart(
            store=store,
            apps=self.apps,
            functions=self.functions,
            calls=self.calls,
            tasks=self.tasks,
            machines=self.machines,
            journal=self.journal,
            worker=self.worker,
            clock=clock,
        )
        self.liveness = Liveness(
            apps=self.apps,
            functions=self.functions,
            calls=self.calls,
            claims=self.claims,
            tasks=self.tasks,
            logs=self.logs,
            clock=clock,
            heartbeat_timeout=settings.heartbeat_timeout,
        )

    # What clients do.

    async def an_image(self, *commands, config=PYTHON, **changes):
        """An image that is built, or is in the state that is given."""
        state = changes.pop("state", ImageState.BUILT)
        image = await self.images.get_or_create(image_request(*commands, **changes), CALLER)
        if state is ImageState.BUILT:
            await self.images.record_finished(image.id, BuiltImage(layers=("layer",), config=config))
        if state is ImageState.FAILED:
            await self.images.record_finished(image.id, "no such package")
        return await self.images.get(image.id)

    async def a_mount(self, path="/root/app.py", data=b"code"):
        await self.content.open()
        digest = hashlib.sha256(data).hexdigest()
        await self.mounts.put_file(digest, data)
        file = TreeFile(path=path, digest=digest)
        return await self.mounts.get_or_create(
            WantedMount(environment="", name="", is_global=False, creation=Creation.ANONYMOUS, files=[file], app_id="ap-1")
        )

    async def a_volume(self, name="models"):
        await self.volume_folders.open()
        return await self.volumes.get_or_create(WantedVolume(environment="", name=name, creation=Creation.IF_MISSING))

    async def an_app(self, state=AppState.INITIALIZING, name="shop"):
        return await self.apps.create(environment="", description=name, state=state, client_version="1.6.4", tags={})

    async def define(self, app, name="f", existing="", **fields):
        return await self.functions.create(app, a_definition(name, **fields), existing)

    async def publish(self, app, *functions, name="shop", state=AppState.DEPLOYED, **fields):
        return await self.apps.publish(app.id, Publication(state=state, layout=layout_of(*functions), name=name, **fields))

    async def deploy(self, *names, name="shop", **fields):
        """An app with these functions, live; the app and the functions."""
        app = await self.an_app(name=name)
        if "image_id" not in fields:
            fields["image_id"] = (await self.an_image()).id
        functions = [await self.define(app, function_name, **fields) for function_name in names or ("f",)]
        app, _ = await self.publish(app, *functions, name=name)
        return (app, *[await self.functions.live(function.id) for function in functions])

    async def call(self, live, *, kind=CallKind.UNARY, invocation=Invocation.SYNC, inputs=1):
        call = await self.calls.create(live.function, kind=kind, invocation=invocation)
        await self.calls.put_inputs(call.id, [an_item(i) for i in range(inputs)])
        return call

    # What tasks do.

    def tasks_of(self, live):
        return list(self.tasks.of_function(live.id).values())

    async def a_ready_task(self, live):
        task = self.tasks.create(live.function, live.definition_id, "test")
        self.tasks.record_ready(task)
        return task

    async def claim(self, task):
        async with asyncio.timeout(DEADLINE):
            return list((await self.claims.claim(task.id)).inputs)

    async def answer(self, task, item, data=b"result"):
        result = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS, data=data)
        output = api_pb2.FunctionPutOutputsItem(input_id=item.input_id, retry_count=item.retry_count, result=result)
        await self.claims.put_outputs(task.id, [output])

    async def story(self, subject):
        await self.journal.flush()
        async with self.store.transaction() as tx:
            return await tx.events.of(subject)

    async def events(self, subject):
        return [event.kind for event in await self.story(subject)]


def a_definition(name="f", **fields):
    return api_pb2.Function(function_name=name, module_name="app", **fields)


def layout_of(*functions):
    return Layout(
        function_ids={live.function.tag: live.id for live in functions},
        definition_ids={live.id: live.definition_id for live in functions},
    )


def image_request(*commands, force=False, builder_version="2025.06", build_function_id="", **fields):
    message = api_pb2.Image(dockerfile_commands=commands or ("FROM python:3.11-slim-bookworm",), **fields)
    return ImageRequest(message=message, builder_version=builder_version, app_id="ap-1", build_function_id=build_function_id, force=force)


def an_item(idx, args=b"args"):
    return api_pb2.FunctionPutInputsItem(idx=idx, input=api_pb2.FunctionInput(args=args))
