"""Domain values as the messages that several resources answer with."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from freehold.control.services.tasks import LiveTask
from freehold.domain.apps import App, AppState, Deployment, DeploymentKind, Layout
from freehold.domain.deployments import may_come_back
from freehold.domain.ids import AppId, DefinitionId, FunctionId
from freehold.domain.tasks import Task
from freehold.wire.execs import Terminal

_APP_STATES = {
    AppState.INITIALIZING: api_pb2.APP_STATE_INITIALIZING,
    AppState.EPHEMERAL: api_pb2.APP_STATE_EPHEMERAL,
    AppState.DETACHED: api_pb2.APP_STATE_DETACHED,
    AppState.DEPLOYED: api_pb2.APP_STATE_DEPLOYED,
    AppState.STOPPED: api_pb2.APP_STATE_STOPPED,
}
_KINDS = {
    DeploymentKind.STANDARD: api_pb2.DEPLOYMENT_TYPE_STANDARD,
    DeploymentKind.STAGED: api_pb2.DEPLOYMENT_TYPE_STAGED,
    DeploymentKind.PROMOTION: api_pb2.DEPLOYMENT_TYPE_PROMOTION,
    DeploymentKind.ROLLBACK: api_pb2.DEPLOYMENT_TYPE_ROLLBACK,
    DeploymentKind.ROLLOVER: api_pb2.DEPLOYMENT_TYPE_ROLLOVER,
}
_LARGEST_TERMINAL = 65_535  # rows or columns; the kernel counts them in 16 bits
_ENTRY = re.compile(r"[0-9]{1,18}")
_FROM_WIRE = {number: state for state, number in _APP_STATES.items()}


def seconds(moment: datetime | None) -> float:
    """Seconds since the epoch; 0 for never, as the protocol has it."""
    return moment.timestamp() if moment else 0.0


def stamp(moment: datetime) -> Timestamp:
    found = Timestamp()
    found.FromDatetime(moment)
    return found


def moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)


def entry_number(entry_id: str) -> int:
    """The place in a log that a client has reached; the beginning for what is no such place."""
    return int(entry_id) if _ENTRY.fullmatch(entry_id) else 0


def enum_name(enum: Any, number: int) -> str:
    """The name of an enum's value; the number for one that this version of the protocol does not have."""
    return str(enum.Name(number)) if number in enum.values() else str(number)


def warnings(texts: Iterable[str]) -> list[api_pb2.Warning]:
    """As clients show them."""
    return [api_pb2.Warning(type=api_pb2.Warning.WARNING_TYPE_FUNCTION_CONFIGURATION, message=text) for text in texts]


def app_state(number: int) -> AppState | None:
    return _FROM_WIRE.get(number)  # type: ignore[call-overload,no-any-return]


def lifecycle(app: App, live: Deployment | None = None) -> api_pb2.AppLifecycle:
    is_deployed = live is not None and app.name is not None
    return api_pb2.AppLifecycle(
        app_state=_APP_STATES[app.state],
        created_at=seconds(app.created_at),
        deployed_at=seconds(live.deployed_at) if live and is_deployed else 0.0,
        version=app.version,
        stopped_at=seconds(app.stopped_at),
    )


def app_handle(app: App, functions: Mapping[str, str] | None = None) -> api_pb2.AppHandleMetadata:
    return api_pb2.AppHandleMetadata(
        description=app.description,
        app_id=app.id,
        environment_name=app.environment,
        lifecycle=lifecycle(app),
        functions=functions or {},
    )


def app_list_item(app: App, running_tasks: int) -> api_pb2.AppListResponse.AppListItem:
    return api_pb2.AppListResponse.AppListItem(
        app_id=app.id,
        description=app.description,
        state=_APP_STATES[app.state],
        created_at=seconds(app.created_at),
        stopped_at=seconds(app.stopped_at),
        n_running_tasks=running_tasks,
        name=app.name or "",
        metadata=app_handle(app),
    )


def layout_of(request: api_pb2.AppPublishRequest) -> Layout:
    return Layout(
        function_ids={tag: FunctionId(fid) for tag, fid in request.function_ids.items()},
        class_ids=dict(request.class_ids),
        definition_ids={FunctionId(fid): DefinitionId(did) for fid, did in request.definition_ids.items()},
    )


def deployment(item: Deployment, live: int) -> api_pb2.AppDeploymentHistory:
    message = api_pb2.AppDeploymentHistory(
        app_id=item.app_id,
        version=item.version,
        client_version=item.client_version,
        deployed_at=seconds(item.deployed_at),
        tag=item.tag,
        rollback_version=item.rollback_of if item.kind is DeploymentKind.ROLLBACK else 0,
        rollback_allowed=may_come_back(item, live),
        deployment_type=_KINDS[item.kind],
    )
    if item.commit_info:
        message.commit_info.ParseFromString(item.commit_info)
    return message


def task_info(task: Task) -> api_pb2.TaskInfo:
    return api_pb2.TaskInfo(
        id=task.id, enqueued_at=seconds(task.enqueued_at), started_at=seconds(task.started_at), finished_at=seconds(task.ended_at)
    )


def count_by_app(tasks: Iterable[LiveTask]) -> Mapping[AppId, int]:
    return Counter(live.task.app_id for live in tasks)


def terminal(info: api_pb2.PTYInfo) -> Terminal:
    """As large as the client's own; what it does not know is left at what is usual."""
    usual = Terminal()
    return Terminal(
        rows=min(info.winsz_rows or usual.rows, _LARGEST_TERMINAL), columns=min(info.winsz_cols or usual.columns, _LARGEST_TERMINAL)
    )


def terminal_env(info: api_pb2.PTYInfo) -> dict[str, str]:
    told = {"TERM": info.env_term, "COLORTERM": info.env_colorterm, "TERM_PROGRAM": info.env_term_program}
    return {name: value for name, value in told.items() if value}
