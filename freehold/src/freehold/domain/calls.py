"""Function calls, their inputs and results.

A call is UNARY (one input) or MAP (many, still being added). It is synchronous (its caller waits and retries) or asynchronous
(acknowledged, so on disk first). An input is tried in attempts, each on one task; its result is written once.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from freehold.domain.ids import AppId, CallId, FunctionId, InputId


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
