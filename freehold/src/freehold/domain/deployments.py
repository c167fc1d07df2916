"""Which version of an app's history comes back: pure decisions over the history, newest first."""

from collections.abc import Mapping, Sequence

from freehold.domain.apps import Deployment, DeploymentKind
from freehold.domain.errors import Conflict, InvalidRequest, NotFound


def next_version(history: Sequence[Deployment]) -> int:
    return history[0].version + 1 if history else 1


def rollback_target(history: Sequence[Deployment], live: int, asked: int | None) -> Deployment:
    """The version that was asked for or, without one, the newest before the live one that ran other code.

    A rollback of a rollback therefore takes back the rollback, and a rollover in between does not count.
    """
    if asked is not None:
        return _checked_rollback(_existing(history, asked), live)
    by_version = {item.version: item for item in history}
    code = _origin(by_version, live)
    for item in history:
        if item.version < live and item.kind is not DeploymentKind.STAGED and _origin(by_version, item.version) != code:
            return item
    msg = "There is no earlier version to go back to: `modal app history` shows the versions of an app."
    raise Conflict(msg)


def promotion_target(history: Sequence[Deployment], asked: int) -> Deployment:
    """The staged version that was asked for."""
    found = _existing(history, asked)
    if found.kind is not DeploymentKind.STAGED:
        msg = f"v{asked} was not staged, so it cannot be promoted. `modal app rollback` brings an earlier version back."
        raise InvalidRequest(msg)
    return found


def may_come_back(item: Deployment, live: int) -> bool:
    return item.version != live and item.kind is not DeploymentKind.STAGED


def _checked_rollback(found: Deployment, live: int) -> Deployment:
    if found.kind is DeploymentKind.STAGED:
        msg = f"v{found.version} was staged and never live: `modal app promote` deploys it."
        raise InvalidRequest(msg)
    if found.version == live:
        msg = f"v{live} is the version that is live. `modal app rollover` gives it new containers."
        raise InvalidRequest(msg)
    return found


def _existing(history: Sequence[Deployment], version: int) -> Deployment:
    found = next((item for item in history if item.version == version), None)
    if found is None:
        there = f"It has v{history[-1].version} to v{history[0].version}." if history else "It has none."
        msg = f"The app has no version v{version}. {there}"
        raise NotFound(msg)
    return found


def _origin(by_version: Mapping[int, Deployment], version: int) -> int:
    """The version that first had this one's code."""
    while (found := by_version.get(version)) is not None and found.rollback_of:
        version = found.rollback_of
    return version
