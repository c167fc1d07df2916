"""What clients, containers and the `freehold` command call."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from freehold.assembly.control import ControlPlane
from freehold.assembly.health import Health
from freehold.assembly.pages import Pages
from freehold.control.rpc import inputs_socket, server
from freehold.control.rpc.apps import AppRpcs
from freehold.control.rpc.auth import Authenticator
from freehold.control.rpc.blobs import BlobRpcs
from freehold.control.rpc.call_records import CallRecordRpcs
from freehold.control.rpc.calls import CallRpcs
from freehold.control.rpc.containers import ContainerRpcs
from freehold.control.rpc.cost import CostRpcs
from freehold.control.rpc.environments import EnvironmentRpcs
from freehold.control.rpc.execs import ExecRpcs, Passes
from freehold.control.rpc.functions import FunctionRpcs
from freehold.control.rpc.images import ImageRpcs
from freehold.control.rpc.logs import LogRpcs
from freehold.control.rpc.metrics import MetricRpcs
from freehold.control.rpc.mounts import MountRpcs
from freehold.control.rpc.older_execs import OlderExecRpcs
from freehold.control.rpc.proxy_tokens import ProxyTokenRpcs
from freehold.control.rpc.schedules import ScheduleOperations
from freehold.control.rpc.secrets import SecretRpcs
from freehold.control.rpc.servers import ServerRpcs
from freehold.control.rpc.statistics import StatisticRpcs
from freehold.control.rpc.tokens import TokenOperations, TokenRpcs
from freehold.control.rpc.volumes import VolumeRpcs
from freehold.control.rpc.workspaces import WorkspaceRpcs
from freehold.control.services.execs import Execs

_INPUTS_SOCKET = "run/control/inputs.sock"


class Rpcs:
    """Everything that answers RPCs. Those of calls and containers are answered over the containers' own socket too."""

    def __init__(self, control: ControlPlane, execs: Execs) -> None:
        work, catalog = control.work, control.catalog
        self._control = control
        self._calls = CallRpcs(calls=work.calls, functions=catalog.functions, tasks=work.tasks)
        self._containers = ContainerRpcs(claims=work.claims, tasks=work.tasks, apps=catalog.apps, history=control.insight.history)
        self.authenticator = Authenticator(credentials=control.resources.tokens, tasks=work.tasks)
        self.passes = Passes(execs)
        own = [self._calls, self._containers, ExecRpcs(execs=execs, url=control.settings.control_url), OlderExecRpcs(execs)]
        self.resources = [*own, *_of_apps(control), *_of_resources(control), *_of_insight(control)]

    def inputs_socket(self) -> AbstractAsyncContextManager[None]:
        work, serving = self._control.work, self._control.serving
        behind = inputs_socket.Behind(
            claims=work.claims,
            lanes=serving.lanes,
            rpcs=inputs_socket.rpcs_of(self._calls, self._containers),
            tokens=work.tasks,
            callers=self.authenticator,
            reports=self._control.insight.cold_starts,
        )
        return inputs_socket.serve(behind, self._control.settings.root / _INPUTS_SOCKET)


def operations(control: ControlPlane, health: Health, pages: Pages) -> Mapping[str, server.Operation]:
    """Everything that the `freehold` command asks a running engine."""
    insight, resources = control.insight, control.resources
    return {
        "Why": insight.explanations.why,
        "ColdStart": insight.cold_starts.show,
        "Cost": insight.costs.table,
        "Trace": insight.traces.show,
        "Usage": insight.costs.show,
        "Stats": insight.statistics.stats,
        "Top": health.top,
        "DashboardLink": pages.link,
        **ScheduleOperations(control.catalog.schedules).table(),
        **TokenOperations(tokens=resources.tokens, flows=resources.token_flows).table(),
    }


def _of_apps(control: ControlPlane) -> list[object]:
    settings, work, catalog, serving = control.settings, control.work, control.catalog, control.serving
    return [
        AppRpcs(
            apps=catalog.apps,
            deployments=catalog.deployments,
            launches=serving.launches,
            tasks=work.tasks,
            scaling=catalog.scaling,
            gateway_url=settings.gateway_url,
        ),
        FunctionRpcs(apps=catalog.apps, functions=catalog.functions, scaling=catalog.scaling),
        ImageRpcs(images=catalog.images, logs=work.logs),
        ServerRpcs(functions=catalog.functions, lanes=serving.lanes),
    ]


def _of_resources(control: ControlPlane) -> list[object]:
    settings, resources = control.settings, control.resources
    return [
        BlobRpcs(resources.blobs),
        EnvironmentRpcs(resources.environments),
        MountRpcs(resources.mounts),
        ProxyTokenRpcs(tokens=resources.proxy_tokens, workspaces=resources.workspaces),
        SecretRpcs(resources.secrets),
        TokenRpcs(tokens=resources.tokens, flows=resources.token_flows, workspaces=resources.workspaces, pages_url=settings.pages_url),
        VolumeRpcs(volumes=resources.volumes, files=resources.volume_files),
        WorkspaceRpcs(resources.workspaces),
    ]


def _of_insight(control: ControlPlane) -> list[object]:
    work, catalog, insight = control.work, control.catalog, control.insight
    return [
        CallRecordRpcs(records=insight.records, functions=catalog.functions),
        CostRpcs(costs=insight.costs, environments=control.resources.environments),
        LogRpcs(logs=work.logs, apps=catalog.apps, functions=catalog.functions, history=insight.history),
        MetricRpcs(statistics=insight.statistics, metrics=work.metrics, clock=control.base.clock),
        StatisticRpcs(
            statistics=insight.statistics, metrics=work.metrics, activity=work.activity, apps=catalog.apps, clock=control.base.clock
        ),
    ]
