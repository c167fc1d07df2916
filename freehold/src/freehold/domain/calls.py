"""Function calls, their inputs and results.

A call is UNARY (one input) or MAP (many, still being added). It is synchronous (its caller waits and retries) or asynchronous
(acknowledged, so on disk first). An input is tried in attempts, each on one task; its result is written once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from freehold.domain.ids import AppId, CallId, FunctionId, InputId, TaskId
from freehold.domain.trace_contexts import TraceParent


class CallKind(StrEnum):
    UNARY = "unary"
    MAP = "map"


class Invocation(StrEnum):
    SYNC = "sync"
    ASYNC = "async"


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    id: CallId
    function_id: FunctionId
    app_id: AppId
    kind: CallKind
    invocation: Invocation
    created_at: datetime
    parent_input_id: str = ""
    is_cancelled: bool = False
    request_key: str = ""  # of the request that made it: a client that repeats the request gets this call again
    retry_policy: bytes = b""  # serialized `FunctionRetryPolicy`, as it was when the call was made
    origin: TraceParent | None = None  # the span that it was made in, as its caller said it or by its parent; None begins a trace


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInput:
    """An input of an asynchronous call as it is kept on disk. `payload` is a serialized `FunctionInput`."""

    id: InputId
    call_id: CallId
    idx: int
    payload: bytes
    created_at: datetime
    result: bytes | None = None  # serialized `FunctionGetOutputsItem`, once there is one
    finished_at: datetime | None = None
    attempt: int = 0  # of the user's retries; those lost with their container are not counted
    status: int | None = None  # the result's `GenericStatus`
    method_name: str = ""  # of a class


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """What an input has come to. `result` is a serialized `FunctionGetOutputsItem`, `status` its `GenericStatus`."""

    input_id: InputId
    result: bytes
    status: int
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the inputs of a call came to: how many of each `GenericStatus`, and how many have no result; when the last of the others ended."""

    by_status: Mapping[int, int] = field(default_factory=dict)
    unfinished: int = 0
    ended_at: datetime | None = None

    @property
    def finished(self) -> int:
        return sum(self.by_status.values())

    @property
    def total(self) -> int:
        return self.finished + self.unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of an input on one task. `number` counts all tries of the input from 0, those that were lost too."""

    input_id: InputId
    number: int
    call_id: CallId
    task_id: TaskId
    started_at: datetime
    ended_at: datetime | None = None
    outcome: str = ""  # why it ended without the input's result; empty while it runs, and where it gave that result
