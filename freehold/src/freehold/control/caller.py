"""Who is asking: a client with a token, or a task with its own. Passed to services, which decide what it may touch."""

from collections.abc import Sequence
from dataclasses import dataclass

from freehold.domain import clients
from freehold.domain.ids import TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """`task_id` is set for containers. `client_version` is the version of its modal package, as it says itself."""

    task_id: TaskId | None = None
    token_id: str = ""  # by which a client is known; empty for containers, and for clients that ask for their first
    pass_to: TaskId | None = None  # the one container in which it may run commands, for a client that shows a pass instead of its token
    client_version: str = ""
    is_restricted: bool = False  # a task of a function with `restrict_modal_access=True`
    idempotency_key: str = ""  # the same for every retry of one request; empty where the client sends none
    is_repeating: bool = False  # it says that it sends this request again
    traceparent: str = ""  # of its trace, in the words of W3C

    @property
    def is_task(self) -> bool:
        return self.task_id is not None

    @property
    def actor(self) -> str:
        """For the record of what was changed."""
        return f"container {self.task_id}" if self.task_id else f"client with token {self.token_id}"

    @property
    def cautions(self) -> Sequence[str]:
        """What its user should know about using this version here."""
        return [text for text in (clients.caution(self.client_version),) if text]
