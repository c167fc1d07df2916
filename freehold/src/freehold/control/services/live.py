"""The calls that are under way, in memory: what a waiting caller, an asking task and the autoscaler look at.

Nothing here waits or writes to disk. A Pool holds the inputs of one function that no task has yet; whoever adds one hands it to a
task that is already asking, if there is one.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

from modal_proto import api_pb2

from freehold.control.services.data_channels import DataStream
from freehold.control.wakeups import Wakeup
from freehold.domain.calls import FunctionCall, Invocation
from freehold.domain.ids import AppId, CallId, FunctionId, InputId, TaskId


class InputState(Enum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"


@dataclass(slots=True, eq=False)
class LiveInput:
    """One input and its current attempt. `attempt` counts tries from 0 and travels as `retry_count`."""

    id: InputId
    call: "LiveCall"
    idx: int
    payload: api_pb2.FunctionInput
    state: InputState = InputState.QUEUED
    queued_at: float = 0.0  # monotonic seconds
    attempt: int = 0
    losses: int = 0  # attempts that ended with their container, not by the function's doing
    task_id: TaskId | None = None
    claimed_at: float = 0.0
    is_cancelled: bool = False

    @property
    def is_running(self) -> bool:
        return self.state is InputState.RUNNING


@dataclass(slots=True, eq=False)
class LiveCall:
    """One function call. `outputs` is in order of completion: a map's reader moves along it with a cursor."""

    record: FunctionCall
    retry_policy: api_pb2.FunctionRetryPolicy
    inputs: dict[int, LiveInput] = field(default_factory=dict)
    outputs: list[api_pb2.FunctionGetOutputsItem] = field(default_factory=list)
    latest: dict[int, api_pb2.FunctionGetOutputsItem] = field(default_factory=dict)
    changed: Wakeup = field(default_factory=Wakeup)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while inputs are added or the call is cancelled
    unfinished: int = 0
    last_seen: float = 0.0  # monotonic; when a reader last asked or an output arrived
    data_in: DataStream = field(default_factory=DataStream)
    data_out: DataStream = field(default_factory=DataStream)
    is_unwatched: bool = False  # nobody will ask for the result: forget the call when it is done

    @property
    def id(self) -> CallId:
        return self.record.id

    @property
    def function_id(self) -> FunctionId:
        return self.record.function_id

    @property
    def is_durable(self) -> bool:
        return self.record.invocation is Invocation.ASYNC


@dataclass(slots=True, eq=False)
class _Claim:
    """A task that waits for inputs."""

    task_id: TaskId
    ready: asyncio.Future[None]
    idle_since: float


class Pool:
    """Inputs of one function that wait for a task, first come first served, and the tasks that wait for inputs."""

    def __init__(self, function_id: FunctionId, app_id: AppId) -> None:
        self.function_id = function_id
        self.app_id = app_id
        self._queue: deque[LiveInput] = deque()
        self._claims: deque[_Claim] = deque()
        self.running = 0

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, live: LiveInput, *, first: bool = False) -> bool:
        """Queue an input; `first` for one that lost its task and has waited before. Whether a waiting task will take it."""
        if first:
            self._queue.appendleft(live)
        else:
            self._queue.append(live)
        return self._wake_one()

    def withdraw(self, call: LiveCall) -> list[LiveInput]:
        """Take out all inputs of a call."""
        gone = [live for live in self._queue if live.call is call]
        self._queue = deque(live for live in self._queue if live.call is not call)
        return gone

    def take(self) -> LiveInput | None:
        return self._queue.popleft() if self._queue else None

    @property
    def oldest_queued_at(self) -> float | None:
        return self._queue[0].queued_at if self._queue else None

    async def wait(self, task_id: TaskId, seconds: float, idle_since: float = 0.0) -> None:
        """Until an input may be there for this task, it is dismissed, or the time is over.

        Of several tasks the one that was `idle_since` the latest moment is woken: the others fall idle, and can be let go.
        """
        if not self._queue:
            await self.wait_for_more(task_id, seconds, idle_since)

    async def wait_for_more(self, task_id: TaskId, seconds: float, idle_since: float = 0.0) -> None:
        """Until one more input was added, the task is dismissed, or the time is over."""
        claim = _Claim(task_id, asyncio.get_running_loop().create_future(), idle_since)
        self._claims.append(claim)
        handle = asyncio.get_running_loop().call_later(seconds, _settle, claim.ready)
        try:
            await claim.ready
        except asyncio.CancelledError:
            if claim.ready.done():
                self.pass_on()
            raise
        finally:
            handle.cancel()
            with suppress(ValueError):
                self._claims.remove(claim)

    def dismiss(self, task_id: TaskId) -> None:
        """Wake a waiting task, to be told that it gets nothing more."""
        for claim in [claim for claim in self._claims if claim.task_id == task_id]:
            self._claims.remove(claim)
            _settle(claim.ready)

    def pass_on(self) -> None:
        """A task that may have been woken for an input leaves without it: another may have it."""
        if self._queue:
            self._wake_one()

    def _wake_one(self) -> bool:
        claim = max((claim for claim in self._claims if not claim.ready.done()), key=lambda claim: claim.idle_since, default=None)
        if claim is None:
            return False
        self._claims.remove(claim)
        _settle(claim.ready)
        return True


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
