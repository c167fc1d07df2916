"""Where web requests meet containers that serve HTTP themselves: a room for each function, part of its pool. Nothing here waits."""

import asyncio
import os
import stat
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from freehold.control.services.tasks import LiveTask
from freehold.domain.errors import FreeholdError, InvalidRequest
from freehold.domain.ids import TaskId
from freehold.domain.tasks import TaskState

Address = str | tuple[str, int]

_MOST_SESSIONS = 10_000  # that are remembered; the one that was heard of longest ago goes first


class PinnedSocket:
    """A container's socket, by a path that goes on to mean this very one: the folder is the container's to write in, and it might put a
    link to a socket of the machine there. Raises InvalidRequest when there is none.
    """

    def __init__(self, path: str) -> None:
        try:
            self._descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            msg = f"The container's socket cannot be found: {error.strerror}."
            raise InvalidRequest(msg) from error
        if not stat.S_ISSOCK(os.fstat(self._descriptor).st_mode):
            msg = "What the container has put in the place of its socket is none."
            raise InvalidRequest(msg)

    def __str__(self) -> str:
        return f"/proc/self/fd/{self._descriptor}"

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


@dataclass(slots=True, eq=False)
class Lane:
    """One container and where it listens; implements `gateway.ports.Lane`. It takes `limit` requests at once."""

    task: LiveTask
    address: Address
    limit: int
    socket: PinnedSocket | None = None  # what the address leads to, as long as this lives
    connections: int = 0  # of its container, which waits on one to be told to leave
    rests_until: float = 0.0  # monotonic seconds

    @property
    def id(self) -> TaskId:
        return self.task.id

    @property
    def is_open(self) -> bool:
        return self.connections > 0 and self.task.state is TaskState.READY and not self.task.is_stopping

    def has_room(self, now: float) -> bool:
        return self.task.requests < self.limit and self.is_open and self.rests_until <= now


class WaitingRequest:
    """Answered with the lane that it may use (booked already), with None if its function's containers do not serve HTTP themselves."""

    __slots__ = ("answer", "queued_at", "session")

    def __init__(self, session: str, queued_at: float) -> None:
        self.session = session
        self.queued_at = queued_at
        self.answer: asyncio.Future[Lane | None] = asyncio.get_running_loop().create_future()


class WebRoom:
    """The lanes of a function, and the requests that wait for one: first come first served."""

    def __init__(self) -> None:
        self.lanes: dict[TaskId, Lane] = {}
        self.waiting: deque[WaitingRequest] = deque()
        self._sessions: OrderedDict[str, TaskId] = OrderedDict()

    @property
    def oldest_queued_at(self) -> float | None:
        return self.waiting[0].queued_at if self.waiting else None

    def choose(self, session: str, now: float) -> Lane | None:
        """The lane that this session used before, else the least loaded one. Not booked yet."""
        lane = self.lanes.get(self._sessions.get(session, TaskId(""))) if session else None
        if lane is None or not lane.has_room(now):
            free = (lane for lane in self.lanes.values() if lane.has_room(now))
            lane = min(free, key=_load, default=None)
        if session and lane is not None:
            self._remember(session, lane)
        return lane

    def serve(self, now: float, book: Callable[[Lane], None]) -> None:
        """Give those that wait what room there is."""
        while self.waiting:
            lane = self.choose(self.waiting[0].session, now)
            if lane is None:
                return
            request = self.waiting.popleft()
            if not request.answer.done():
                book(lane)
                request.answer.set_result(lane)

    def send_away(self, error: FreeholdError | None = None) -> None:
        """All that wait: with the error, or to where inputs wait."""
        waiting, self.waiting = self.waiting, deque()
        for request in waiting:
            if request.answer.done():
                continue
            if error is None:
                request.answer.set_result(None)
            else:
                request.answer.set_exception(error)

    def _remember(self, session: str, lane: Lane) -> None:
        self._sessions[session] = lane.id
        self._sessions.move_to_end(session)
        if len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)


def _load(lane: Lane) -> int:
    return lane.task.requests
