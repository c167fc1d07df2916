"""Web requests on their way to containers that serve HTTP themselves, without becoming inputs of calls.

A request books a place on a lane, in its function's pool: limits, the autoscaler and drains see it there as they see an input. What it
says goes from the gateway to the container; nothing of it passes through here.
"""

import asyncio
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from freehold.control.services.apps import Apps
from freehold.control.services.calls import Calls
from freehold.control.services.functions import Functions, LiveFunction
from freehold.control.services.pools import Pool
from freehold.control.services.tasks import LiveTask, Tasks
from freehold.control.services.web_rooms import Lane, PinnedSocket, WaitingRequest
from freehold.control.services.web_routes import WebRoutes
from freehold.control.wakeups import Wakeup
from freehold.domain.apps import App
from freehold.domain.clock import Clock
from freehold.domain.errors import DeadlineExceeded, InvalidRequest, ResourceExhausted, Unavailable
from freehold.domain.functions import WebRoute, WebTarget
from freehold.domain.ids import FunctionId, TaskId
from freehold.domain.seams import Seam, Transport
from freehold.domain.tasks import TaskState

_WEB = "web"  # the seam by which containers serve HTTP
_REST = 1.0  # seconds that a lane whose socket refused gets no new requests
_SOCKET = "web/http.sock"  # in the folder of a task
_LONGEST_LOOK = 24 * 3600.0  # seconds
_HIGHEST_PORT = 65_535
_STUCK = "a web request ran into its timeout"


class _ShortName:
    """A folder by its descriptor: the kernel takes 107 bytes for the path of a socket, and homes may be deep."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __str__(self) -> str:
        return f"/proc/self/fd/{self._descriptor}"


class Lanes:
    """Implements `gateway.ports.Lanes`."""

    def __init__(
        self,
        *,
        routes: WebRoutes,
        functions: Functions,
        apps: Apps,
        calls: Calls,
        tasks: Tasks,
        clock: Clock,
        demand: Wakeup,
        tasks_folder: Path,
        max_waiting: int,
        seams_of: Callable[[App], Collection[Seam]],
    ) -> None:
        """`tasks_folder` holds a folder for each task; `seams_of` says how an app's containers are started."""
        self._routes = routes
        self._functions = functions
        self._apps = apps
        self._calls = calls
        self._tasks = tasks
        self._clock = clock
        self._demand = demand
        self._folder = _ShortName(tasks_folder)
        self._max_waiting = max_waiting
        self._waiting = 0
        self._seams_of = seams_of

    # The gateway's side.

    def route(self, label: str) -> WebRoute:
        """What a label means, and the rules for requests to it. Raises NotFound."""
        return self._routes.route(label)

    def route_of_host(self, host: str) -> WebRoute | None:
        """What a host of the user's own means; None if it means nothing here."""
        return self._routes.route_of_host(host)

    def take(self, target: WebTarget, session: str = "") -> Lane | None:
        """A lane with room, booked; None if there is none now, or others wait for it already."""
        pool = self._calls.find_pool(target.function_id)
        if pool is None or pool.web.waiting:
            return None
        lane = pool.web.choose(session, self._clock.monotonic())
        if lane is not None:
            self._book(pool, lane)
        return lane

    async def wait(self, target: WebTarget, patience: float, session: str = "") -> Lane | None:
        """See `gateway.ports.Lanes`."""
        live = await self._functions.live(target.function_id)
        if await self._takes_inputs(live):
            return None
        pool = self._calls.pool(target.function_id, target.app_id)  # after the last wait: an idle one may be dropped
        if self._waiting >= self._max_waiting:
            msg = f"{self._waiting} web requests wait for containers already."
            raise ResourceExhausted(msg)
        request = WaitingRequest(session, self._clock.monotonic())
        pool.web.waiting.append(request)
        self._serve(pool)
        self._demand.notify()
        return await self._answer(pool, request, patience)

    def release(self, lane: Lane) -> None:
        pool = self._calls.pool(lane.task.task.function_id, lane.task.task.app_id)
        now = self._clock.monotonic()
        lane.task.requests -= 1
        lane.task.meter.end(now, 0.0)
        pool.running -= 1
        self._tasks.note_output(lane.task)
        if not lane.task.load:
            lane.task.idle_since = now
            if lane.task.state is TaskState.DRAINING:
                lane.task.leaving.notify()
        if pool.web.waiting:
            self._serve(pool)

    def lost(self, lane: Lane) -> None:
        """Its socket refuses. Either it has just ended, or it will be heard of again."""
        lane.rests_until = self._clock.monotonic() + _REST
        asyncio.get_running_loop().call_later(_REST, self._end_rest, lane)

    def timed_out(self, lane: Lane) -> None:
        """Nobody can tell from outside whether the request goes on: its neighbours finish, and another container takes its place."""
        lane.task.is_stuck = True
        self._tasks.drain(lane.task, _STUCK)

    def open_of(self, function_id: FunctionId) -> list[Lane]:
        """The containers that take requests of a function now."""
        pool = self._calls.find_pool(function_id)
        return [lane for lane in pool.web.lanes.values() if lane.is_open] if pool is not None else []

    # The container's side.

    async def serve(self, task_id: TaskId, listens_at: str) -> None:
        """The container serves HTTP from now on, at its socket or its own port. Returns when it is to leave."""
        task = self._tasks.get(task_id)
        live = await self._functions.live(task.task.function_id)
        pool = self._calls.pool(task.task.function_id, task.task.app_id)
        lane = pool.web.lanes.get(task_id)
        if lane is None:
            lane = pool.web.lanes[task_id] = self._lane(task, listens_at, live.spec.concurrency.max_inputs)
        lane.connections += 1
        lane.rests_until = 0.0
        try:
            self._tasks.record_ready(task, Transport.OWN, serves_http=True)
            self._serve(pool)
            await self._until_it_leaves(task)
        finally:
            lane.connections -= 1

    def fall_back(self, task_id: TaskId, reason: str) -> None:
        """The container could serve HTTP itself, by its client's version, and takes inputs instead."""
        self._tasks.record_fallback(self._tasks.get(task_id), reason)

    # The steps.

    async def _answer(self, pool: Pool, request: WaitingRequest, patience: float) -> Lane | None:
        self._waiting += 1
        try:
            return await self._in_time(request, patience)
        except Unavailable as error:
            app = await self._apps.get(pool.app_id)
            msg = f"{error}\nIts log: modal app logs {app.name or app.id}"
            raise Unavailable(msg) from error
        except asyncio.CancelledError:
            self._give_back(request)
            raise
        finally:
            self._waiting -= 1
            with suppress(ValueError):
                pool.web.waiting.remove(request)

    async def _in_time(self, request: WaitingRequest, patience: float) -> Lane | None:
        done, _ = await asyncio.wait([request.answer], timeout=patience)
        if not done:
            request.answer.cancel()
            msg = f"No container of the function had room within {patience:g} s."
            raise DeadlineExceeded(msg)
        return request.answer.result()

    def _give_back(self, request: WaitingRequest) -> None:
        """Whoever waited has left, perhaps in the moment in which it was given a lane."""
        if request.answer.cancel() or request.answer.cancelled() or request.answer.exception():
            return
        if (lane := request.answer.result()) is not None:
            self.release(lane)

    async def _takes_inputs(self, live: LiveFunction) -> bool:
        """Whether its containers take web requests as inputs: one does already, or none can do otherwise. A server never does."""
        if live.spec.is_server or self._has_lanes(live.id):
            return False
        can_serve = _WEB in self._seams_of(await self._apps.get(live.function.app_id))
        if self._has_lanes(live.id):  # it has become ready meanwhile
            return False
        return not can_serve or any(_asks_for_inputs(task) for task in self._tasks.of_function(live.id).values())

    def _has_lanes(self, function_id: FunctionId) -> bool:
        pool = self._calls.find_pool(function_id)
        return pool is not None and bool(pool.web.lanes)

    async def _until_it_leaves(self, task: LiveTask) -> None:
        while True:
            generation = task.leaving.generation
            if task.state is TaskState.DRAINING and not task.requests:
                return
            await task.leaving.wait(generation, _LONGEST_LOOK)

    def _end_rest(self, lane: Lane) -> None:
        """The loop's clock may be some moments before ours, and the lane may have been lost again."""
        if (left := lane.rests_until - self._clock.monotonic()) > 0:
            asyncio.get_running_loop().call_later(left, self._end_rest, lane)
        elif (pool := self._calls.find_pool(lane.task.task.function_id)) is not None:
            self._serve(pool)

    def _serve(self, pool: Pool) -> None:
        pool.web.serve(self._clock.monotonic(), lambda lane: self._book(pool, lane))

    def _book(self, pool: Pool, lane: Lane) -> None:
        lane.task.requests += 1
        lane.task.meter.begin(self._clock.monotonic())
        pool.running += 1
        self._tasks.note_input(lane.task)
        if lane.task.is_single_use:
            self._tasks.drain(lane.task, "it is used once")

    def _lane(self, task: LiveTask, listens_at: str, limit: int) -> Lane:
        """A container says at which of its own ports; where its network is, it is not asked."""
        if not listens_at.isdecimal():
            socket = PinnedSocket(f"{self._folder}/{task.id}/{_SOCKET}")
            return Lane(task, str(socket), limit, socket=socket)
        if not task.address or not 0 < int(listens_at) <= _HIGHEST_PORT:
            msg = f"The container cannot be reached at port {listens_at}: it has no network, or there is no such port."
            raise InvalidRequest(msg)
        return Lane(task, (task.address, int(listens_at)), limit)


def _asks_for_inputs(task: LiveTask) -> bool:
    """An earlier engine's says itself, as soon as it is heard of, in which way it takes requests."""
    return task.state is TaskState.READY and not task.serves_http and not task.is_silent and not task.is_stopping
