"""Who is calling, from the metadata of one RPC: a client by token id and secret, a container by its task's own token."""

import re
from collections.abc import Mapping
from typing import Protocol

from freehold.control.caller import Caller
from freehold.domain import clients
from freehold.domain.errors import InvalidRequest, PermissionDenied, Unauthenticated
from freehold.domain.ids import TaskId

# All that a container needs to take its inputs and give back their results.
_OWN_WORK = frozenset({
    "BlobCreate", "BlobGet", "ClientHello", "ContainerHeartbeat", "ContainerHello", "ContainerStop", "FunctionBlobGet",
    "FunctionCallGetDataIn", "FunctionCallPutDataOut", "FunctionGetDynamicConcurrency", "FunctionGetInputs", "FunctionPutOutputs",
    "TaskResult", "VolumeCommit", "VolumeReload",
})  # fmt: skip
# How clients without a token ask for one.
_FOR_ANYBODY = frozenset({"TokenFlowCreate", "TokenFlowWait"})
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+!-]{0,63}")  # goes into names of packages and folders


class Credentials(Protocol):
    def accepts(self, token_id: str, token_secret: str) -> bool: ...


class TaskTokens(Protocol):
    def accepts_task(self, task_id: TaskId, token: str) -> bool: ...

    def is_restricted(self, task_id: TaskId) -> bool: ...


class Authenticator:
    def __init__(self, *, credentials: Credentials, tasks: TaskTokens) -> None:
        self._credentials = credentials
        self._tasks = tasks

    def caller(self, rpc: str, metadata: Mapping[str, str]) -> Caller:
        """Raises Unauthenticated, never saying which half of a token was wrong, PermissionDenied for what a task may not call, and
        InvalidRequest for a client that is too old to be served.
        """
        task_id = metadata.get("x-task")
        if task_id is not None:
            self._check_task(rpc, TaskId(task_id), metadata.get("x-task-token", ""))
        elif rpc not in _FOR_ANYBODY:
            self._check_client(metadata)
        said = metadata.get("x-modal-client-version", "")
        version = said if _VERSION.fullmatch(said) else ""
        if task_id is None and (why := clients.refusal(version)):
            raise InvalidRequest(why)
        return Caller(
            task_id=TaskId(task_id) if task_id else None,
            token_id="" if task_id or rpc in _FOR_ANYBODY else metadata.get("x-modal-token-id", ""),
            is_restricted=task_id is not None and self._tasks.is_restricted(TaskId(task_id)),
            client_version=version,
            idempotency_key=metadata.get("x-idempotency-key", ""),
            is_repeating=metadata.get("x-retry-attempt", "0") != "0",
            traceparent=metadata.get("traceparent", ""),
        )

    def _check_task(self, rpc: str, task_id: TaskId, token: str) -> None:
        if not self._tasks.accepts_task(task_id, token):
            msg = f"Task {task_id} is not one of this engine's running tasks."
            raise Unauthenticated(msg)
        if rpc not in _OWN_WORK and self._tasks.is_restricted(task_id):
            msg = f"This function was deployed with restrict_modal_access=True, so its containers may not call {rpc}."
            raise PermissionDenied(msg)

    def _check_client(self, metadata: Mapping[str, str]) -> None:
        token_id, secret = metadata.get("x-modal-token-id", ""), metadata.get("x-modal-token-secret", "")
        if not self._credentials.accepts(token_id, secret):
            msg = "This engine does not know the token. Run `freehold login` on the machine of the engine, or `modal token new` elsewhere, and try again."
            raise Unauthenticated(msg)
