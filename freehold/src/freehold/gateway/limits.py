"""Time and room: how long callers may take, and how many connections each may keep."""

import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, Self, TypeVar

from freehold.config import Settings

KEEP_ALIVE_SECONDS = 75.0  # longer than the idle limit of common clients and proxies, so that they close first
PAUSE_SECONDS = 2.0  # between requests in which a connection is as before; then it is an idle one, and remembers nothing
LINGER_SECONDS = 2.0  # for the rest of a request that was refused: closing at once would take the answer away
SWEEP_SECONDS = 0.25  # how late a limit of time may be noticed

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """In seconds, bytes and connections."""

    container_wait: float
    redirect_after: float
    head_time: float
    body_time: float  # without any progress
    max_body: int  # 0: any
    connections: int
    connections_per_address: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        def seconds(setting: timedelta) -> float:
            return setting.total_seconds()

        return cls(
            container_wait=seconds(settings.http_request_timeout),
            redirect_after=seconds(settings.http_redirect_after),
            head_time=seconds(settings.http_head_timeout),
            body_time=seconds(settings.http_body_timeout),
            max_body=settings.http_max_body_bytes,
            connections=settings.http_connections,
            connections_per_address=settings.http_connections_per_address,
        )


class Deadlines(Generic[T]):
    """Things that may each stay as they are for the same time: in the order of their beginning, so that a sweep looks at few."""

    def __init__(self, seconds: float, pass_on: Callable[[T], None]) -> None:
        self._seconds = seconds
        self._pass_on = pass_on
        self._ends: dict[T, float] = {}

    def begin(self, thing: T, now: float) -> None:
        self._ends.pop(thing, None)
        self._ends[thing] = now + self._seconds

    def end(self, thing: T) -> None:
        self._ends.pop(thing, None)

    def sweep(self, now: float) -> None:
        while self._ends and (first := next(iter(self._ends.items())))[1] <= now:
            del self._ends[first[0]]
            self._pass_on(first[0])


class Visitors:
    """How many connections each address has."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._counts: Counter[str] = Counter()
        self.total = 0

    def excess(self, address: str, *, is_local: bool) -> str:
        """Why one more is too many; empty: it is not. A proxy on this machine brings the connections of many."""
        if self.total > self._limits.connections:
            return f"The gateway has {self._limits.connections} connections already (the setting FREEHOLD_HTTP_CONNECTIONS)."
        if not is_local and self._counts[address] > self._limits.connections_per_address:
            return f"{self._limits.connections_per_address} connections from one address are open already."
        return ""

    def come(self, address: str) -> None:
        self._counts[address] += 1
        self.total += 1

    def leave(self, address: str) -> None:
        self.total -= 1
        self._counts[address] -= 1
        if not self._counts[address]:
            del self._counts[address]


def allow_descriptors(wanted: int) -> None:
    """Each connection is a file descriptor; shells commonly allow a process a thousand."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard) if hard != resource.RLIM_INFINITY else wanted, hard))
