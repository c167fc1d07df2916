"""What all connections and requests of the gateway share: the time, their limits, and those that are open."""

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, Protocol

from anyio.abc import TaskGroup

from freehold.gateway.limits import KEEP_ALIVE_SECONDS, LINGER_SECONDS, PAUSE_SECONDS, SWEEP_SECONDS, Deadlines, Limits, Visitors
from freehold.gateway.metrics import Metrics
from freehold.gateway.ports import Lanes, Measured, Traces
from freehold.gateway.routing import Peer
from freehold.gateway.upstreams import Upstreams


class Guest(Protocol):
    """See `connections.Connection`."""

    peer: Peer
    transport: asyncio.Transport

    def check(self, now: float) -> None: ...

    def expire(self) -> None: ...

    def give_up_head(self) -> None: ...

    def rest(self) -> None: ...

    def shutdown(self) -> None: ...

    def stop(self) -> None: ...


class PutOff(Protocol):
    """See `late.Late`."""

    def __len__(self) -> int: ...

    def keep(self, exchange: Any) -> None: ...

    def put_off_if_due(self, exchange: Any, now: float) -> None: ...

    def sweep(self, now: float) -> None: ...

    def close(self) -> None: ...


class ServerState:
    """`now` is the loop's time at the last sweep: nothing here needs it more exactly."""

    def __init__(self, *, lanes: Lanes[Any], traces: Traces, limits: Limits, late: PutOff, measured: Measured | None) -> None:
        self.lanes = lanes
        self.traces = traces
        self.limits = limits
        self.late = late
        self.measured = measured
        self.metrics = Metrics()
        self.connections: set[Guest] = set()
        self.busy: set[Guest] = set()
        self.tasks = 0  # that serve requests
        self.waiting = 0  # requests without a container
        self.is_closing = False
        self.pausing = Deadlines[Guest](PAUSE_SECONDS, lambda connection: connection.rest())
        self.idle = Deadlines[Guest](KEEP_ALIVE_SECONDS - PAUSE_SECONDS, lambda connection: connection.expire())
        self.heads = Deadlines[Guest](limits.head_time, lambda connection: connection.give_up_head())
        self.discarding = Deadlines[Guest](limits.body_time, lambda connection: connection.transport.abort())
        self.lingering = Deadlines[Guest](LINGER_SECONDS, lambda connection: connection.expire())
        self._visitors = Visitors(limits)

    def open(self, group: TaskGroup) -> None:
        """Must be called in the loop that serves, before anything else."""
        self.loop = asyncio.get_running_loop()
        self.upstreams: Upstreams[Any] = Upstreams(self.loop)
        self._group = group
        self._tick()

    def shutdown(self) -> None:
        """Nothing new; what is under way may end."""
        self.is_closing = True
        for connection in tuple(self.connections):
            connection.shutdown()

    def close(self) -> None:
        """End what is under way."""
        for connection in tuple(self.connections):
            connection.stop()
        self.late.close()
        self.upstreams.close()

    def leave(self) -> None:
        """What was answered last is out: nobody is waited for any more."""
        for connection in tuple(self.connections):
            connection.transport.close()

    def spawn(self, work: Callable[[], Awaitable[None]]) -> None:
        self.tasks += 1
        self._group.start_soon(self._run, work)

    def welcome(self, connection: Guest) -> str:
        """Why it cannot stay; empty: it can."""
        self.connections.add(connection)
        self.pausing.begin(connection, self.now)
        address = _address_of(connection)
        self._visitors.come(address)
        return self._visitors.excess(address, is_local=connection.peer.is_local)

    def forget(self, connection: Guest) -> None:
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        self.busy.discard(connection)
        for deadlines in self._deadlines():
            deadlines.end(connection)
        self._visitors.leave(_address_of(connection))

    async def sweep_often(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._sweep()

    def gauges(self) -> dict[str, tuple[str, int]]:
        return {
            "connections": ("Connections that are open.", len(self.connections)),
            "requests_waiting": ("Requests that wait for a container.", self.waiting),
            "requests_under_way": ("Requests without a complete response.", len(self.busy)),
            "responses_kept": ("Requests that go on without their callers, who were asked to come back.", len(self.late)),
        }

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        finally:
            self.tasks -= 1

    def _sweep(self) -> None:
        self._tick()
        for connection in tuple(self.busy):
            connection.check(self.now)
        for deadlines in self._deadlines():
            deadlines.sweep(self.now)
        self.late.sweep(self.now)
        self.upstreams.sweep(self.now)

    def _deadlines(self) -> tuple[Deadlines[Guest], ...]:
        return self.pausing, self.idle, self.heads, self.discarding, self.lingering

    def _tick(self) -> None:
        self.now = self.loop.time()
        self.date_line = b"\r\ndate: " + formatdate(usegmt=True).encode()


def _address_of(connection: Guest) -> str:
    return connection.peer.address[0] if connection.peer.address else ""
