"""Inputs that wait for a task, and tasks that wait for inputs: one pool for each function, first come first served."""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from freehold.control.services.live import LiveInput
from freehold.control.services.web_rooms import WebRoom
from freehold.domain.ids import AppId, FunctionId, TaskId


@dataclass(slots=True, eq=False)
class _Claim:
    """A task that waits for inputs."""

    task_id: TaskId
    ready: asyncio.Future[None]
    idle_since: float


class Pool:
    """Whoever adds an input hands it to a task that is already asking, if there is one."""

    def __init__(self, function_id: FunctionId, app_id: AppId) -> None:
        self.function_id = function_id
        self.app_id = app_id
        self._queue: deque[LiveInput] = deque()  # those withdrawn stay in it until they come to its head
        self._waiting = 0
        self._claims: deque[_Claim] = deque()
        self.running = 0
        self.paused: set[LiveInput] = set()  # they wait for their next try
        self.web = WebRoom()  # requests that go to containers directly; those under way count as running here too

    def __len__(self) -> int:
        return self._waiting

    @property
    def queued(self) -> int:
        """Inputs and web requests that wait for a task."""
        return self._waiting + len(self.web.waiting)

    @property
    def is_idle(self) -> bool:
        return not self.queued and not self.running and not self.paused

    def add(self, live: LiveInput, *, first: bool = False) -> bool:
        """Queue an input; `first` for one that lost its task and has waited before. Whether a waiting task will take it."""
        if live.is_withdrawn:
            self._remove(live)
        self._waiting += 1
        if first:
            self._queue.appendleft(live)
        else:
            self._queue.append(live)
        return self._wake_one()

    def withdraw(self, live: LiveInput) -> None:
        """Take out an input that is queued here. At once for those who look, from memory when its turn would have come."""
        live.is_withdrawn = True
        self._waiting -= 1
        self._skip_withdrawn()

    def take(self) -> LiveInput | None:
        if not self._waiting:
            return None
        self._skip_withdrawn()
        self._waiting -= 1
        live = self._queue.popleft()
        self._skip_withdrawn()
        return live

    def waiting(self) -> Iterable[LiveInput]:
        """In the order of their turns."""
        return (live for live in self._queue if not live.is_withdrawn)

    @property
    def oldest_queued_at(self) -> float | None:
        """Of the inputs."""
        return self._queue[0].queued_at if self._waiting else None

    @property
    def waiting_since(self) -> float | None:
        """The oldest input or web request."""
        return min((at for at in (self.oldest_queued_at, self.web.oldest_queued_at) if at is not None), default=None)

    async def wait(self, task_id: TaskId, seconds: float, idle_since: float = 0.0) -> None:
        """Until an input may be there for this task, it is dismissed, or the time is over.

        Of several tasks the one that was `idle_since` the latest moment is woken: the others fall idle, and can be let go.
        """
        if not self._waiting:
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
        if self._waiting:
            self._wake_one()

    def _skip_withdrawn(self) -> None:
        """Keeps the head of the queue one that waits."""
        while self._queue and self._queue[0].is_withdrawn:
            self._queue.popleft().is_withdrawn = False

    def _remove(self, live: LiveInput) -> None:
        """One that was withdrawn and comes back before its old place has come to the head."""
        self._queue.remove(live)
        live.is_withdrawn = False

    def _wake_one(self) -> bool:
        claim = max((claim for claim in self._claims if not claim.ready.done()), key=lambda claim: claim.idle_since, default=None)
        if claim is None:
            return False
        self._claims.remove(claim)
        _settle(claim.ready)
        return True


class Pools:
    """By function. One that is idle and has no task is dropped when somebody tidies up."""

    def __init__(self) -> None:
        self._pools: dict[FunctionId, Pool] = {}

    def get(self, function_id: FunctionId, app_id: AppId) -> Pool:
        pool = self._pools.get(function_id)
        if pool is None:
            pool = self._pools[function_id] = Pool(function_id, app_id)
        return pool

    def find(self, function_id: FunctionId) -> Pool | None:
        return self._pools.get(function_id)

    def all(self) -> Iterable[Pool]:
        return list(self._pools.values())

    def drop(self, function_id: FunctionId) -> None:
        del self._pools[function_id]


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
