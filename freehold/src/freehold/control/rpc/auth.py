"""Who is calling, from the metadata of one RPC: a client by token id and secret, a container by its task's own token."""

from collections.abc import Mapping
from typing import Protocol

from freehold.control.caller import Caller
from freehold.domain.errors import Unauthenticated
from freehold.domain.ids import TaskId


class Credentials(Protocol):
    def accepts(self, token_id: str, token_secret: str) -> bool: ...


class TaskTokens(Protocol):
    def accepts_task(self, task_id: TaskId, token: str) -> bool: ...


class Authenticator:
    def __init__(self, *, credentials: Credentials, tasks: TaskTokens) -> None:
        self._credentials = credentials
        self._tasks = tasks

    def caller(self, metadata: Mapping[str, str]) -> Caller:
        """Raises Unauthenticated; never says which half of a token was wrong."""
        task_id = metadata.get("x-task")
        if task_id is not None:
            self._check_task(TaskId(task_id), metadata.get("x-task-token", ""))
        else:
            self._check_client(metadata)
        client_type = metadata.get("x-modal-client-type", "0")
        return Caller(
            task_id=TaskId(task_id) if task_id else None,
            client_version=metadata.get("x-modal-client-version", ""),
            client_type=int(client_type) if client_type.isdigit() else 0,
            idempotency_key=metadata.get("x-idempotency-key", ""),
        )

    def _check_task(self, task_id: TaskId, token: str) -> None:
        if not self._tasks.accepts_task(task_id, token):
            msg = f"Task {task_id} is not one of this engine's running tasks."
            raise Unauthenticated(msg)

    def _check_client(self, metadata: Mapping[str, str]) -> None:
        token_id, secret = metadata.get("x-modal-token-id", ""), metadata.get("x-modal-token-secret", "")
        if not self._credentials.accepts(token_id, secret):
            msg = "This engine does not know the token. Run `freehold login` on the machine of the engine and try again."
            raise Unauthenticated(msg)
