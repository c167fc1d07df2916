"""Apps and their deployments.

An ephemeral app lives while its client sends heartbeats (`modal run`, `modal serve`); a deployed app has a name that is unique in its
environment and a history of numbered deployments, one of which is live.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from freehold.domain.errors import Conflict
from freehold.domain.ids import AppId, DefinitionId, FunctionId


class AppState(StrEnum):
    INITIALIZING = "initializing"  # created; its objects are being uploaded
    EPHEMERAL = "ephemeral"  # running, owned by a client that sends heartbeats
    DETACHED = "detached"  # running, its client has left on purpose
    DEPLOYED = "deployed"  # live under its name
    STOPPED = "stopped"  # nothing of it runs; the id stays readable


LEGAL_MOVES: Mapping[AppState, frozenset[AppState]] = {
    AppState.INITIALIZING: frozenset({AppState.EPHEMERAL, AppState.DETACHED, AppState.DEPLOYED, AppState.STOPPED}),
    AppState.EPHEMERAL: frozenset({AppState.EPHEMERAL, AppState.DETACHED, AppState.STOPPED}),
    AppState.DETACHED: frozenset({AppState.DETACHED, AppState.STOPPED}),
    AppState.DEPLOYED: frozenset({AppState.DEPLOYED, AppState.STOPPED}),
    AppState.STOPPED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    id: AppId
    environment: str
    description: str
    state: AppState
    created_at: datetime
    name: str | None = None  # set by the first deployment
    version: int = 0  # of the live deployment; 0 before the first
    stopped_at: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    client_version: str = ""  # of the client that created it: its containers get the same one

    @property
    def is_live(self) -> bool:
        return self.state is not AppState.STOPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a version of an app consists of: tag → id for functions and classes, function id → definition id."""

    function_ids: Mapping[str, FunctionId] = field(default_factory=dict)
    class_ids: Mapping[str, str] = field(default_factory=dict)
    definition_ids: Mapping[FunctionId, DefinitionId] = field(default_factory=dict)


class DeploymentKind(StrEnum):
    STANDARD = "standard"  # `modal deploy`
    STAGED = "staged"  # in the history, not live: `modal app promote` makes it so
    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    ROLLOVER = "rollover"  # the same code in new containers


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One numbered version in an app's history."""

    app_id: AppId
    version: int
    deployed_at: datetime
    client_version: str
    layout: Layout
    tag: str = ""
    kind: DeploymentKind = DeploymentKind.STANDARD
    rollback_of: int = 0  # the version whose code this one brought back, rolled over or promoted; 0 otherwise
    commit_info: bytes = b""  # serialized CommitInfo, as the client sent it


def move(app: App, state: AppState, now: datetime) -> App:
    """The app in its next state. Raises Conflict on a move that the table does not have."""
    if state not in LEGAL_MOVES[app.state]:
        msg = f"App {app.id} is {app.state}; it cannot become {state}."
        raise Conflict(msg)
    return replace(app, state=state, stopped_at=now if state is AppState.STOPPED else None)
