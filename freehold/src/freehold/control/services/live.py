"""The calls that are under way, in memory: what a waiting caller, an asking task and the autoscaler look at.

Nothing here waits or writes to disk.
"""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from modal_proto import api_pb2

from freehold.control.services.data_channels import DataStream
from freehold.control.wakeups import Wakeup
from freehold.domain.calls import Attempt, FunctionCall, Invocation
from freehold.domain.ids import CallId, FunctionId, InputId, TaskId
from freehold.domain.retries import RetryPolicy


class InputState(Enum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"  # out of the queue: it failed and waits for its next try, or its end is being written
    DONE = "done"


@dataclass(slots=True, eq=False)
class LiveInput:
    """One input and its current try. `attempt` counts the user's retries from 0 and travels as `retry_count`."""

    id: InputId
    call: "LiveCall"
    idx: int
    payload: api_pb2.FunctionInput
    state: InputState = InputState.QUEUED
    queued_at: float = 0.0  # monotonic seconds
    admitted_at: float = 0.0  # when it came, before all its tries
    attempt: int = 0
    losses: int = 0  # tries that ended with their container, not by the function's doing
    task_id: TaskId | None = None
    claimed_at: float = 0.0
    metered_since: float = 0.0  # by the meter of its task
    tries: tuple[Attempt, ...] = ()  # oldest first, as far as memory has them; the last one is the current
    is_cancelled: bool = False
    cancelled_at: float = 0.0
    is_withdrawn: bool = False  # belongs to its pool: to be skipped there
    is_recording: bool = False  # its result is on the way to disk
    next_try: asyncio.TimerHandle | None = None  # while it is paused

    @property
    def is_running(self) -> bool:
        return self.state is InputState.RUNNING

    def begin_try(self, task_id: TaskId, now: datetime) -> Attempt:
        number = self.tries[-1].number + 1 if self.tries else 0
        attempt = Attempt(input_id=self.id, number=number, call_id=self.call.id, task_id=task_id, started_at=now)
        self.tries = (*self.tries, attempt)
        return attempt

    def end_try(self, outcome: str, now: datetime) -> Attempt | None:
        """The current try ends without the input's result, or with it: then the outcome is empty."""
        if not self.tries or self.tries[-1].ended_at is not None:
            return None
        ended = replace(self.tries[-1], ended_at=now, outcome=outcome)
        self.tries = (*self.tries[:-1], ended)
        return ended


@dataclass(slots=True, eq=False)
class LiveCall:
    """One function call. `outputs` is in order of completion: a map's reader moves along it with a cursor."""

    record: FunctionCall
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    epoch: int = 0  # a call that was made anew has another: the cursors of its readers begin again
    inputs: dict[int, LiveInput] = field(default_factory=dict)
    outputs: list[api_pb2.FunctionGetOutputsItem] = field(default_factory=list)
    latest: dict[int, api_pb2.FunctionGetOutputsItem] = field(default_factory=dict)
    changed: Wakeup = field(default_factory=Wakeup)
    unfinished: int = 0
    last_seen: float = 0.0  # monotonic; when a reader last asked or an output arrived
    is_unwatched: bool = False  # nobody will ask for the result: forget the call when it is done
    leaves_retries: bool = False  # its client is an old one, which does not try failed inputs again by itself
    _changing: asyncio.Lock | None = None
    _data_in: DataStream | None = None
    _data_out: DataStream | None = None
    _are_streams_closed: bool = False

    @property
    def id(self) -> CallId:
        return self.record.id

    @property
    def function_id(self) -> FunctionId:
        return self.record.function_id

    @property
    def is_durable(self) -> bool:
        return self.record.invocation is Invocation.ASYNC

    # Most calls need none of these, and a hundred thousand may be waiting: made when first asked for.

    @property
    def changing(self) -> asyncio.Lock:
        """Held while inputs are added or the call is cancelled."""
        if self._changing is None:
            self._changing = asyncio.Lock()
        return self._changing

    @property
    def data_in(self) -> DataStream:
        if self._data_in is None:
            self._data_in = DataStream(closed=self._are_streams_closed)
        return self._data_in

    @property
    def data_out(self) -> DataStream:
        if self._data_out is None:
            self._data_out = DataStream(closed=self._are_streams_closed)
        return self._data_out

    @property
    def is_retried_here(self) -> bool:
        """Whether failed inputs are tried again by the engine, not by the client that waits."""
        return self.is_durable or self.leaves_retries

    @property
    def has_streamed(self) -> bool:
        return self._data_out is not None and bool(self._data_out.last_index)

    @property
    def can_begin_again(self) -> bool:
        """Whether another try finds its request whole, and nobody has seen a part of its response.

        A generator has no request stream: what it yields again is passed over, and its reader goes on after that. A web app that
        answers again may answer otherwise.
        """
        if self._data_in is None or not self._data_in.last_index:
            return True
        return not self.has_streamed and self._data_in.is_whole

    def close_streams(self) -> None:
        self._are_streams_closed = True
        for stream in (self._data_in, self._data_out):
            if stream is not None:
                stream.close()

    def reopen_streams(self) -> None:
        self._are_streams_closed = False
        for stream in (self._data_in, self._data_out):
            if stream is not None:
                stream.closed = False
