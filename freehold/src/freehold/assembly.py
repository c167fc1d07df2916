"""The only place that constructs objects and joins them: reads like a parts list.

One process holds the control plane, the gateway and this machine's worker. Parts are started in order and stopped in reverse; if one
of them dies, all of them stop.
"""

import gc
import os
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio
import psutil
import structlog
from anyio.abc import TaskGroup
from starlette.routing import BaseRoute

from freehold.config import Settings
from freehold.control.controllers import loop
from freehold.control.controllers.autoscaler import Autoscaler
from freehold.control.controllers.builds import Builds
from freehold.control.controllers.farewell import Farewell
from freehold.control.controllers.foresight import Foresight
from freehold.control.controllers.liveness import Liveness
from freehold.control.controllers.loop import Controller
from freehold.control.controllers.metrics import Historian
from freehold.control.controllers.restart import Restart
from freehold.control.controllers.retention import Retention
from freehold.control.controllers.scheduler import Scheduler
from freehold.control.controllers.schedules import Clockwork
from freehold.control.rpc import inputs_socket, server
from freehold.control.rpc.apps import AppRpcs
from freehold.control.rpc.auth import Authenticator
from freehold.control.rpc.blobs import BlobRpcs
from freehold.control.rpc.call_records import CallRecordRpcs
from freehold.control.rpc.calls import CallRpcs
from freehold.control.rpc.containers import ContainerRpcs
from freehold.control.rpc.cost import CostRpcs
from freehold.control.rpc.environments import EnvironmentRpcs
from freehold.control.rpc.functions import FunctionRpcs
from freehold.control.rpc.images import ImageRpcs
from freehold.control.rpc.logs import LogRpcs
from freehold.control.rpc.metrics import MetricRpcs
from freehold.control.rpc.mounts import MountRpcs
from freehold.control.rpc.proxy_tokens import ProxyTokenRpcs
from freehold.control.rpc.schedules import ScheduleOperations
from freehold.control.rpc.secrets import SecretRpcs
from freehold.control.rpc.servers import ServerRpcs
from freehold.control.rpc.tokens import TokenOperations, TokenRpcs
from freehold.control.rpc.volumes import VolumeRpcs
from freehold.control.rpc.workspaces import WorkspaceRpcs
from freehold.control.services.apps import Apps
from freehold.control.services.blobs import Blobs
from freehold.control.services.build_functions import BuildFunctions
from freehold.control.services.call_details import CallDesk
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
from freehold.control.services.images import Images
from freehold.control.services.journal import Journal
from freehold.control.services.json_calls import JsonCalls
from freehold.control.services.lanes import Lanes
from freehold.control.services.launches import Launches
from freehold.control.services.listings import Listings
from freehold.control.services.logs import Logs
from freehold.control.services.machines import Machines
from freehold.control.services.metrics import Metrics
from freehold.control.services.mounts import Mounts
from freehold.control.services.proxy_tokens import ProxyTokens
from freehold.control.services.scaling import Scaling
from freehold.control.services.schedules import Schedules
from freehold.control.services.secrets import Secrets
from freehold.control.services.statistics import Statistics
from freehold.control.services.stories import Stories
from freehold.control.services.task_history import TaskHistory
from freehold.control.services.tasks import Tasks
from freehold.control.services.token_flows import TokenFlows
from freehold.control.services.tokens import Tokens
from freehold.control.services.trace_exports import TraceExports
from freehold.control.services.traces import Traces
from freehold.control.services.usage import UsageBook
from freehold.control.services.version_diffs import VersionDiffs
from freehold.control.services.volume_files import VolumeFiles
from freehold.control.services.volumes import Volumes
from freehold.control.services.web_calls import WebCalls
from freehold.control.services.web_routes import WebRoutes
from freehold.control.services.workspaces import Workspaces
from freehold.control.wakeups import Wakeup
from freehold.dashboard.access import Access
from freehold.dashboard.app import Dashboard
from freehold.dashboard.layer_sizes import LayerSizes
from freehold.dashboard.parts import Parts
from freehold.domain.clock import SystemClock
from freehold.domain.seams import Transport, Zygotes
from freehold.domain.tasks import TaskState
from freehold.domain.volumes import FOLDER as VOLUMES_FOLDER
from freehold.gateway.ask import AskRoutes
from freehold.gateway.call_api import CallRoutes
from freehold.gateway.certificates import Certificates
from freehold.gateway.exposition import EngineFigures
from freehold.gateway.exposition import Functions as FunctionFigures
from freehold.gateway.server import Gateway
from freehold.gateway.tokens import TokenRoutes
from freehold.gateway.volumes import VolumeRoutes
from freehold.observability.lag import LoopLag
from freehold.observability.otlp import find_sender
from freehold.placement.local import LocalReports
from freehold.placement.machine import capacity, this_machine
from freehold.stopping import Stopping
from freehold.store.authority import Authority
from freehold.store.blobs.folder import FolderBlobs
from freehold.store.import_lists import ImportLists
from freehold.store.keyring import Keyring
from freehold.store.logs import LogStore
from freehold.store.prices import PriceFile
from freehold.store.sql.store import SqlStore
from freehold.store.volumes.folders import VolumeFolders
from freehold.supervision import Supervision
from freehold.worker.builds.parts import make_builder
from freehold.worker.bundles import Bundles
from freehold.worker.gpus import find_gpus
from freehold.worker.launch import TASKS_FOLDER
from freehold.worker.network.veth import VethNetworks
from freehold.worker.runtimes.runc import RuncRuntime
from freehold.worker.snapshots.overlay import OverlaySnapshots
from freehold.worker.trees import Trees
from freehold.worker.worker import Worker

log = structlog.get_logger()

_FORESIGHT_REST = 0.5  # seconds: what was deployed just now may be called just now, which comes first
_USAGE_REST = 1.0  # seconds: containers that end together are written together
_AUTOSCALER_REST = 0.02  # seconds; under load every call is a hint, and a look costs as much as a call
_CONTROL_SOCKET = "run/control/control.sock"
_INPUTS_SOCKET = "run/control/inputs.sock"


class Engine:
    """All parts of one engine, joined and not yet started."""

    def __init__(self, settings: Settings, supervision: Supervision | None = None) -> None:
        self.settings = settings
        self._supervision = supervision or Supervision()
        self._started_at = time.monotonic()
        self._keep(settings)
        self._serve_calls(settings)
        self._serve_apps(settings)
        self._send_traces(settings)
        self._run_tasks(settings)
        self._control()
        self._show(settings)

    def _keep(self, settings: Settings) -> None:
        """What survives: the store, blobs, volumes, keys, logs."""
        home = settings.root
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

    def _serve_calls(self, settings: Settings) -> None:
        """Tasks, the inputs that they take, and who is woken by what."""
        self.demand = Wakeup()
        self.tasks_changed = Wakeup(also=self.demand)
        self.images_wanted = Wakeup()
        counters = self.counters if settings.metrics else None
        self.tasks = Tasks(clock=self.clock, journal=self.journal, changed=self.tasks_changed, counters=counters)
        self.gpus = find_gpus(settings.pretend_gpus)
        self.machines = Machines(
            tasks=self.tasks,
            machine=this_machine(settings, self.gpus.all),
            largest_booking=capacity(settings),
            gpu_fallback=settings.gpu_fallback,
        )
        self.usage = UsageBook(store=self.store, tasks=self.tasks, clock=self.clock, gpus=self.gpus.all)
        self.costs = Costs(usage=self.usage, prices=self.prices, store=self.store, clock=self.clock)
        self.decisions = Decisions(journal=self.journal)
        self.calls = Calls(
            durable=DurableCalls(store=self.store, clock=self.clock, journal=self.journal),
            tasks=self.tasks,
            clock=self.clock,
            demand=self.demand,
            max_queued_inputs=settings.max_queued_inputs,
            measured=counters.call_ended if counters else None,
        )
        self.tasks.report_ends_to(self.calls)
        self.claims = Claims(calls=self.calls, tasks=self.tasks, clock=self.clock, batch_taken=counters.batch_taken if counters else None)
        self.metrics = Metrics(
            store=self.store,
            counters=self.counters,
            calls=self.calls,
            tasks=self.tasks,
            clock=self.clock,
            kept=settings.metrics_ttl,
        )
        self.logs = Logs(store=self.log_store, tasks=self.tasks, clock=self.clock)

    def _serve_apps(self, settings: Settings) -> None:
        """Apps and what they consist of."""
        self.environments = Environments(store=self.store, clock=self.clock, settings=settings)
        self.blobs = Blobs(store=self.store, content=self.content, keyring=self.keyring, clock=self.clock, settings=settings)
        self.mounts = Mounts(store=self.store, content=self.content, blobs=self.blobs, environments=self.environments, clock=self.clock)
        self.secrets = Secrets(store=self.store, environments=self.environments, keyring=self.keyring, clock=self.clock)
        self.volumes = Volumes(store=self.store, files=self.volume_folders, environments=self.environments, clock=self.clock)
        self.volume_files = VolumeFiles(
            volumes=self.volumes,
            files=self.volume_folders,
            content=self.content,
            blobs=self.blobs,
            keyring=self.keyring,
            settings=settings,
        )
        self.workspaces = Workspaces(settings=settings)
        self.tokens = Tokens(store=self.store, keyring=self.keyring, clock=self.clock)
        self.token_flows = TokenFlows(tokens=self.tokens, clock=self.clock)
        self.proxy_tokens = ProxyTokens(store=self.store, environments=self.environments, clock=self.clock)
        self.routes = WebRoutes(workspace=settings.workspace, domain=settings.domain, origin=settings.web_origin)
        self.functions = Functions(
            store=self.store,
            routes=self.routes,
            tasks=self.tasks,
            machines=self.machines,
            clock=self.clock,
            demand=self.demand,
            max_inline_bytes=settings.max_inline_bytes,
        )
        self.call_rpcs = CallRpcs(calls=self.calls, functions=self.functions, tasks=self.tasks)
        self.schedules_changed = Wakeup()
        self.schedules = Schedules(
            store=self.store,
            functions=self.functions,
            calls=self.calls,
            clock=self.clock,
            changed=self.schedules_changed,
            grace=settings.schedule_grace,
        )
        self.apps = Apps(
            store=self.store,
            environments=self.environments,
            functions=self.functions,
            calls=self.calls,
            schedules=self.schedules,
            tasks=self.tasks,
            journal=self.journal,
            clock=self.clock,
            changed=self.tasks_changed,
        )
        self.deployments = Deployments(
            store=self.store,
            content=self.content,
            apps=self.apps,
            functions=self.functions,
            tasks=self.tasks,
            clock=self.clock,
            changed=self.tasks_changed,
        )
        self.images = Images(store=self.store, logs=self.logs, machines=self.machines, clock=self.clock, wanted=self.images_wanted)
        self.scaling = Scaling(functions=self.functions, calls=self.calls, tasks=self.tasks, machines=self.machines, clock=self.clock)
        self.records = CallRecords(store=self.store, calls=self.calls, journal=self.journal)
        self.history = TaskHistory(tasks=self.tasks, journal=self.journal, store=self.store)
        self.container_rpcs = ContainerRpcs(claims=self.claims, tasks=self.tasks, apps=self.apps, history=self.history)
        self.explanations = Explanations(
            store=self.store,
            apps=self.apps,
            functions=self.functions,
            calls=self.calls,
            records=self.records,
            tasks=self.tasks,
            history=self.history,
            images=self.images,
            decisions=self.decisions,
            journal=self.journal,
            clock=self.clock,
            default_maximum=settings.default_max_containers,
        )
        self.cold_starts = ColdStarts(
            store=self.store,
            journal=self.journal,
            tasks=self.tasks,
            history=self.history,
            apps=self.apps,
            functions=self.functions,
            explanations=self.explanations,
            imports=self.import_lists,
        )
        self.traces = Traces(store=self.store, records=self.records, cold_starts=self.cold_starts, clock=self.clock)
        self.statistics = Statistics(
            store=self.store,
            apps=self.apps,
            functions=self.functions,
            explanations=self.explanations,
            metrics=self.metrics,
            counters=self.counters,
            costs=self.costs,
            clock=self.clock,
        )
        self.stories = Stories(
            store=self.store, apps=self.apps, functions=self.functions, explanations=self.explanations, journal=self.journal
        )
        self.web_calls = WebCalls(routes=self.routes, functions=self.functions, apps=self.apps, calls=self.calls, blobs=self.blobs)
        self.json_calls = JsonCalls(
            apps=self.apps,
            functions=self.functions,
            calls=self.calls,
            blobs=self.blobs,
            clock=self.clock,
            max_inline_bytes=settings.max_inline_bytes,
            result_ttl=settings.result_ttl,
        )
        self.launches = Launches(
            store=self.store,
            settings=settings,
            apps=self.apps,
            functions=self.functions,
            images=self.images,
            mounts=self.mounts,
            secrets=self.secrets,
            machines=self.machines,
            volumes=self.volumes,
            default_client=version("modal"),
        )
        self.lanes = Lanes(
            routes=self.routes,
            functions=self.functions,
            apps=self.apps,
            calls=self.calls,
            tasks=self.tasks,
            clock=self.clock,
            demand=self.demand,
            tasks_folder=settings.root / TASKS_FOLDER,
            max_waiting=settings.max_waiting_requests,
            seams_of=self.launches.seams_of,
        )
        self.build_functions = BuildFunctions(
            images=self.images,
            apps=self.apps,
            functions=self.functions,
            calls=self.calls,
            tasks=self.tasks,
            launches=self.launches,
        )

    def _send_traces(self, settings: Settings) -> None:
        """To the receiver that is named, if one is; otherwise nothing of it is there."""
        sender = find_sender(settings.otlp_endpoint, {"freehold.workspace": settings.workspace})
        self.trace_exports = TraceExports(traces=self.traces, sender=sender) if sender else None
        if self.trace_exports:
            self.traces.report_requests_to(self.trace_exports.request_ended)
            self.calls.report_ends_to(self.trace_exports.call_ended)

    def _run_tasks(self, settings: Settings) -> None:
        """The machine's own worker and what it works with."""
        home = settings.root
        runtime, snapshots, networks = RuncRuntime(home=home), OverlaySnapshots(home=home), VethNetworks(home=home)
        self.layer_path = snapshots.path
        trees = Trees(home, self.content)
        bundles = Bundles(home=home, snapshots=snapshots, runtime=runtime, networks=networks, clock=self.clock)
        reports = LocalReports(tasks=self.tasks, usage=self.usage, logs=self.logs, images=self.images, build_functions=self.build_functions)
        self.worker = Worker(
            home=home,
            runtime=runtime,
            snapshots=snapshots,
            networks=networks,
            trees=trees,
            bundles=bundles,
            builder=make_builder(
                home=home,
                runtime=runtime,
                snapshots=snapshots,
                networks=networks,
                content=self.content,
                trees=trees,
                bundles=bundles,
                reports=reports,
                gpus=self.gpus,
                clock=self.clock,
                base_image_source=settings.base_image_source,
            ),
            reports=reports,
            gpus=self.gpus,
            gateway=(settings.host, settings.gateway_port),
            clock=self.clock,
            modules=self.import_lists,
            zygotes=settings.zygotes,
            zygote_memory_mib=settings.zygote_memory_mib,
            spare_containers=settings.spare_containers if settings.zygotes is Zygotes.AUTO else 0,
        )

    def _control(self) -> None:
        """Controllers: what each is woken by, and how often it looks anyway (seconds)."""
        settings = self.settings
        autoscaler = Autoscaler(
            functions=self.functions,
            calls=self.calls,
            tasks=self.tasks,
            claims=self.claims,
            machines=self.machines,
            decisions=self.decisions,
            clock=self.clock,
            default_maximum=settings.default_max_containers,
        )
        self.farewell = Farewell(tasks=self.tasks, claims=self.claims, worker=self.worker, changed=self.tasks_changed, clock=self.clock)
        self.restart = Restart(
            store=self.store,
            apps=self.apps,
            functions=self.functions,
            calls=self.calls,
            tasks=self.tasks,
            machines=self.machines,
            journal=self.journal,
            worker=self.worker,
            clock=self.clock,
        )
        scheduler = Scheduler(tasks=self.tasks, launches=self.launches, worker=self.worker)
        builds = Builds(
            images=self.images,
            mounts=self.mounts,
            secrets=self.secrets,
            functions=self.build_functions,
            machines=self.machines,
            worker=self.worker,
            pids_limit=settings.pids_limit,
        )
        liveness = Liveness(
            apps=self.apps,
            functions=self.functions,
            calls=self.calls,
            claims=self.claims,
            tasks=self.tasks,
            logs=self.logs,
            clock=self.clock,
            heartbeat_timeout=settings.heartbeat_timeout,
        )
        foresight = Foresight(apps=self.apps, launches=self.launches, worker=self.worker)
        clockwork = Clockwork(schedules=self.schedules, clock=self.clock)
        retention = Retention(store=self.store, blobs=self.blobs, logs=self.logs, volumes=self.volumes, settings=settings)
        self.controllers = [
            Controller("autoscaler", autoscaler.step, changed=self.demand, every=0.5, rest=_AUTOSCALER_REST),
            Controller("scheduler", scheduler.step, changed=self.tasks_changed, every=5.0),
            Controller("foresight", foresight.step, changed=self.tasks_changed, every=60.0, rest=_FORESIGHT_REST),
            Controller("builds", builds.step, changed=self.images_wanted, every=30.0),
            Controller("liveness", liveness.step, changed=self.tasks_changed, every=1.0),
            # How long a machine may have slept, or a clock been set ahead, before that is noticed.
            Controller("schedules", clockwork.step, changed=self.schedules_changed, every=30.0),
            Controller("tokens", self.tokens.step, changed=Wakeup(), every=60.0),
            Controller("usage", self.usage.step, changed=self.usage.changed, every=60.0, rest=_USAGE_REST),
            *self._historians(),
            Controller("retention", lambda: retention.step(self.clock.now()), changed=Wakeup(), every=600.0),
        ]

    def _historians(self) -> list[Controller]:
        if not self.settings.metrics:
            return []
        historian = Historian(metrics=self.metrics, clock=self.clock)
        return [Controller("metrics", historian.step, changed=Wakeup(), every=2.0)]

    def _show(self, settings: Settings) -> None:
        """What people look at."""
        parts = Parts(
            settings=settings,
            status=self.status,
            apps=self.apps,
            calls=self.calls,
            claims=self.claims,
            cold_starts=self.cold_starts,
            deployments=self.deployments,
            desk=CallDesk(store=self.store, records=self.records, calls=self.calls, functions=self.functions, journal=self.journal),
            diffs=VersionDiffs(store=self.store),
            environments=self.environments,
            explanations=self.explanations,
            functions=self.functions,
            history=self.history,
            images=self.images,
            journal=self.journal,
            layer_sizes=LayerSizes(self.layer_path),
            listings=Listings(store=self.store, calls=self.calls, records=self.records, journal=self.journal),
            logs=self.logs,
            machines=self.machines,
            proxy_tokens=self.proxy_tokens,
            records=self.records,
            scaling=self.scaling,
            schedules=self.schedules,
            secrets=self.secrets,
            stories=self.stories,
            tasks=self.tasks,
            token_flows=self.token_flows,
            tokens=self.tokens,
            traces=self.traces,
            usage=self.usage,
            metrics=self.metrics,
            clock=self.clock,
            volumes=self.volumes,
            volume_files=self.volume_files,
        )
        access = Access(keyring=self.keyring, tokens=self.tokens, clock=self.clock)
        self.dashboard = Dashboard(parts, access, changed=(self.tasks_changed, self.schedules_changed, self.images_wanted))

    async def dashboard_link(self, _request: dict[str, Any]) -> dict[str, Any]:
        """The address of a page that lets one visitor in, once."""
        origin = f"{'https' if self.settings.tls else 'http'}://{self.settings.host}:{self.settings.gateway_port}"
        return {"url": origin + self.dashboard.access.new_link()}

    def resources(self) -> list[object]:
        """Everything that answers RPCs."""
        return [
            AppRpcs(
                apps=self.apps,
                deployments=self.deployments,
                launches=self.launches,
                tasks=self.tasks,
                scaling=self.scaling,
                gateway_url=self.settings.gateway_url,
            ),
            BlobRpcs(self.blobs),
            CallRecordRpcs(records=self.records, functions=self.functions),
            self.call_rpcs,
            self.container_rpcs,
            CostRpcs(costs=self.costs, environments=self.environments),
            EnvironmentRpcs(self.environments),
            FunctionRpcs(apps=self.apps, functions=self.functions, scaling=self.scaling),
            ImageRpcs(images=self.images, logs=self.logs),
            LogRpcs(logs=self.logs, apps=self.apps, functions=self.functions, history=self.history),
            MetricRpcs(statistics=self.statistics, metrics=self.metrics, apps=self.apps, clock=self.clock),
            MountRpcs(self.mounts),
            ProxyTokenRpcs(tokens=self.proxy_tokens, workspaces=self.workspaces),
            SecretRpcs(self.secrets),
            ServerRpcs(functions=self.functions, lanes=self.lanes),
            TokenRpcs(tokens=self.tokens, flows=self.token_flows, workspaces=self.workspaces, pages_url=self.settings.pages_url),
            VolumeRpcs(volumes=self.volumes, files=self.volume_files),
            WorkspaceRpcs(self.workspaces),
        ]

    def pages(self) -> list[BaseRoute]:
        """What the gateway's bare host serves besides its own pages."""
        calls = CallRoutes(self.json_calls, self.tokens, patience=self.settings.http_request_timeout)
        tokens = TokenRoutes(self.token_flows)
        return [
            *calls.routes,
            *AskRoutes(self.routes).routes,
            *VolumeRoutes(self.volume_files).routes,
            *tokens.routes,
            *self.dashboard.routes,
        ]

    def _tls(self) -> ssl.SSLContext | None:
        """For HTTPS with the home's own authority, if that is wanted."""
        settings = self.settings
        if not settings.tls:
            return None
        authority = Authority.open(settings.root, self.clock.now())
        own = dict.fromkeys(("localhost", settings.domain, settings.host, "127.0.0.1", "::1"))
        return Certificates(authority=authority, own=[*own], is_ours=self.routes.covers, clock=self.clock).context

    def operations(self) -> dict[str, server.Operation]:
        """Everything that the `freehold` command asks a running engine."""
        return {
            "Why": self.explanations.why,
            "ColdStart": self.cold_starts.show,
            "Cost": self.costs.table,
            "Trace": self.traces.show,
            "Usage": self.costs.show,
            "Stats": self.statistics.stats,
            "Top": self._top,
            "DashboardLink": self.dashboard_link,
            **ScheduleOperations(self.schedules).table(),
            **TokenOperations(tokens=self.tokens, flows=self.token_flows).table(),
        }

    async def _top(self, request: dict[str, Any]) -> dict[str, Any]:
        """What `freehold top` shows: the functions, and the engine above them."""
        _, engine = await self.measurements()
        now = {
            "uptime_s": time.monotonic() - self._started_at,
            "cpu_seconds": engine.cpu_seconds,
            "resident_bytes": engine.resident_bytes,
            "containers": dict(engine.containers),
            "loop_lag_s": engine.loop_lag,
            "commit_s": engine.commits.percentile(99),
        }
        return {"engine": now, **await self.statistics.top(request)}

    def status(self) -> dict[str, Any]:
        """What `/healthz` answers and `freehold status` shows."""
        tasks = list(self.tasks.all())
        return {
            "status": "ok",
            "version": version("freehold"),
            "modal": version("modal"),
            "pid": os.getpid(),
            "home": str(self.settings.root),
            "uptime_s": round(time.monotonic() - self._started_at, 1),
            "tasks": len(tasks),
            "tasks_with_own_transport": sum(live.transport is Transport.OWN for live in tasks),
            "tasks_serving_http": sum(live.serves_http for live in tasks),
            "tasks_with_web_fallback": sum(bool(live.web_fallback) for live in tasks),
            "gpus": self.machines.gpus_in_words(),
            "zygotes": self.worker.zygotes.summary(),
            "traces": self.trace_exports.summary() if self.trace_exports else "not sent",
            "apps": len({live.task.app_id for live in tasks}),
            "control_url": self.settings.control_url,
            "gateway_url": self.settings.gateway_url,
        }

    async def measurements(self) -> tuple[FunctionFigures, EngineFigures]:
        """What `/metrics` shows."""
        process = psutil.Process()
        times = process.cpu_times()
        states = Counter(live.state.value for live in self.tasks.all())
        engine = EngineFigures(
            version=version("freehold"),
            modal=version("modal"),
            started_at=process.create_time(),
            cpu_seconds=times.user + times.system,
            resident_bytes=process.memory_info().rss,
            containers={state.value: states[state.value] for state in TaskState if state is not TaskState.ENDED},
            loop_lag=self.loop_lag.worst,
            commits=self.store.commits.histogram(),
        )
        return await self.metrics.exposition(), engine

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start everything in order; stop it in reverse. Containers leave before the control plane that they talk to."""
        async with AsyncExitStack() as stack:
            await self.content.open()
            await self.volume_folders.open()
            await self.store.open()
            self.prices.open()
            stack.push_async_callback(self._close_store)
            await self.restart.restore()
            await self.usage.restore()
            await self.metrics.restore()
            await self.proxy_tokens.restore()
            await self.tokens.restore()
            authenticator = Authenticator(credentials=self.tokens, tasks=self.tasks)
            await stack.enter_async_context(
                server.serve(
                    self.resources(),
                    operations=self.operations(),
                    authenticator=authenticator,
                    address=f"{self.settings.host}:{self.settings.control_port}",
                    socket_path=self.settings.root / _CONTROL_SOCKET,
                    before_bind=self._supervision.free_port,
                )
            )
            await stack.enter_async_context(
                inputs_socket.serve(
                    inputs_socket.Behind(
                        claims=self.claims,
                        lanes=self.lanes,
                        rpcs=inputs_socket.rpcs_of(self.call_rpcs, self.container_rpcs),
                        tokens=self.tasks,
                        callers=authenticator,
                        reports=self.cold_starts,
                    ),
                    self.settings.root / _INPUTS_SOCKET,
                )
            )
            await stack.enter_async_context(
                Gateway(
                    settings=self.settings,
                    lanes=self.lanes,
                    proxy_tokens=self.proxy_tokens,
                    web_calls=self.web_calls,
                    blobs=self.blobs,
                    status=self.status,
                    traces=self.traces,
                    measurements=self.measurements,
                    measured=self.counters.request_ended if self.settings.metrics else None,
                    routes=self.pages(),
                    listener=self._supervision.gateway,
                    ssl_context=self._tls(),
                )
            )
            await stack.enter_async_context(self.worker)
            stack.push_async_callback(self.farewell.say)
            group = await stack.enter_async_context(_background())
            group.start_soon(self.journal.run)
            if self.trace_exports:
                group.start_soon(self.trace_exports.run)
            group.start_soon(self.loop_lag.run)
            group.start_soon(self.dashboard.hub.run)
            for controller in self.controllers:
                group.start_soon(loop.run, controller)
            yield

    async def _close_store(self) -> None:
        await self.journal.flush()
        await self.tokens.step()
        await self.usage.step()
        await self.metrics.flush()
        await self.blobs.flush()
        self.log_store.close()
        await self.store.close()


@asynccontextmanager
async def _background() -> AsyncIterator[TaskGroup]:
    """A task group whose tasks end with its block."""
    async with anyio.create_task_group() as group:
        try:
            yield group
        finally:
            group.cancel_scope.cancel()


async def serve(settings: Settings, *, supervision: Supervision, on_ready: Callable[[str], None]) -> None:
    """Run one engine until SIGTERM or SIGINT, and not much longer; `on_ready` is called once when it answers, with a link to its pages."""
    stopping = Stopping()
    stopping.heed_signals()
    try:
        engine = Engine(settings, supervision)
        async with engine.running():
            log.info("engine_ready", control=settings.control_url, gateway=settings.gateway_url, home=str(settings.root))
            gc.freeze()  # a full collection over all that was loaded takes a tenth of a second, in which nobody is answered
            on_ready((await engine.dashboard_link({}))["url"])
            await stopping.asked.wait()
            log.info("engine_stopping")
    except ExceptionGroup as group:
        raise _first_cause(group) from group


def _first_cause(error: Exception) -> Exception:
    """Task groups wrap what went wrong; people are told the thing itself."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
