"""Counts what ends: calls, web requests, containers. On the path of every call, so it is a few additions and never waits.

What was counted is taken away every few seconds, and becomes history (`services/metrics.py`).
"""

from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from modal_proto import api_pb2

from freehold.domain.clock import Clock
from freehold.domain.figures import BOUNDS, STATUS_CLASSES, Figures, Histogram
from freehold.domain.functions import WebKind, WebTarget
from freehold.domain.ids import AppId, FunctionId
from freehold.domain.usage import GIB, Point, Usage

_GENERIC = api_pb2.GenericResult
_SUCCEEDED, _FAILED = int(_GENERIC.GENERIC_STATUS_SUCCESS), int(_GENERIC.GENERIC_STATUS_FAILURE)
_TIMED_OUT, _CANCELLED = int(_GENERIC.GENERIC_STATUS_TIMEOUT), int(_GENERIC.GENERIC_STATUS_TERMINATED)
_ALL_OUTCOMES = 15  # as a mask: statuses are smaller, and whatever a container makes up stays within the list
_NO_RESPONSE, _GATEWAY_TIMEOUT, _SERVER_ERROR = 0, 504, 500
_LOGGED = 1000  # requests of one server that are remembered, the last ones
_LOGS = 200  # servers of which they are


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """A request that a server answered. `status` is 0 where its caller left before there was one."""

    at: datetime
    path: str
    task_id: str
    seconds: float
    status: int


_Served = tuple[datetime, bytes, str, float, int]  # what a `ServedRequest` is made of when somebody asks


class _Tally:
    """The figures of one function since they were last taken."""

    __slots__ = (
        "app_id",
        "batched",
        "batches",
        "broken",
        "containers",
        "cpu",
        "ended",
        "execution",
        "execution_total",
        "gpu",
        "largest_batch",
        "last_containers",
        "latency",
        "latency_total",
        "measured",
        "memory",
        "most_containers",
        "most_cpu",
        "most_memory",
        "most_queued",
        "most_running",
        "outcomes",
        "queued",
        "running",
        "starts",
        "starts_total",
        "statuses",
    )

    def __init__(self, app_id: AppId) -> None:
        self.app_id = app_id
        self.outcomes = [0] * (_ALL_OUTCOMES + 1)  # by `GenericStatus`
        self.statuses = [0] * STATUS_CLASSES
        self.latency = [0] * (len(BOUNDS) + 1)
        self.execution = [0] * (len(BOUNDS) + 1)
        self.starts = [0] * (len(BOUNDS) + 1)
        self.latency_total = self.execution_total = self.starts_total = 0.0
        self.ended = self.broken = self.batches = self.batched = self.largest_batch = 0
        self.queued = self.most_queued = self.running = self.most_running = 0
        self.containers = self.most_containers = self.last_containers = 0
        self.measured = self.cpu = self.memory = self.gpu = self.most_cpu = self.most_memory = 0.0

    def figures(self, samples: int) -> Figures:
        succeeded, timed_out, cancelled = (self.outcomes[status] for status in (_SUCCEEDED, _TIMED_OUT, _CANCELLED))
        return Figures(
            succeeded=succeeded,
            failed=sum(self.outcomes) - succeeded - timed_out - cancelled,
            timed_out=timed_out,
            cancelled=cancelled,
            statuses=tuple(self.statuses),
            latency=Histogram(tuple(self.latency), self.latency_total),
            execution=Histogram(tuple(self.execution), self.execution_total),
            starts=Histogram(tuple(self.starts), self.starts_total),
            ended=self.ended,
            broken=self.broken,
            batches=self.batches,
            batched=self.batched,
            largest_batch=self.largest_batch,
            samples=samples,
            queued=self.queued,
            most_queued=self.most_queued,
            running=self.running,
            most_running=self.most_running,
            containers=self.containers,
            most_containers=self.most_containers,
            last_containers=self.last_containers,
            measured=self.measured,
            cpu=self.cpu,
            memory=self.memory,
            gpu=self.gpu,
            most_cpu=self.most_cpu,
            most_memory=self.most_memory,
        )


class Counters:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tallies: dict[FunctionId, _Tally] = {}
        self._samples = 0
        self._requests: OrderedDict[FunctionId, deque[_Served]] = OrderedDict()

    # What others count. All times are seconds.

    def call_ended(self, function_id: FunctionId, app_id: AppId, status: int, latency: float, execution: float) -> None:
        """An input has its result, with this `GenericStatus`. `execution` is 0 of one that no container had."""
        tally = self._tallies.get(function_id) or self._open(function_id, app_id)
        tally.outcomes[status & _ALL_OUTCOMES] += 1
        tally.latency[bisect_left(BOUNDS, latency)] += 1
        tally.latency_total += latency
        if execution:
            tally.execution[bisect_left(BOUNDS, execution)] += 1
            tally.execution_total += execution

    def request_ended(self, target: WebTarget, place: bytes, task_id: str, status: int, *, latency: float, execution: float) -> None:
        """See `gateway.ports.Measured`."""
        if latency < 0:  # the clock on the wall was set back meanwhile
            latency = execution = 0.0
        tally = self._tallies.get(target.function_id) or self._open(target.function_id, target.app_id)
        tally.outcomes[_outcome_of(status) if status >= _SERVER_ERROR or not status else _SUCCEEDED] += 1
        tally.statuses[min(status // 100, STATUS_CLASSES - 1)] += 1
        tally.latency[bisect_left(BOUNDS, latency)] += 1
        tally.latency_total += latency
        if execution:
            tally.execution[bisect_left(BOUNDS, execution)] += 1
            tally.execution_total += execution
        if target.kind is WebKind.SERVER:
            self._log(target.function_id, place, task_id, status, latency)

    def batch_taken(self, function_id: FunctionId, app_id: AppId, size: int) -> None:
        tally = self._tallies.get(function_id) or self._open(function_id, app_id)
        tally.batches += 1
        tally.batched += size
        tally.largest_batch = max(tally.largest_batch, size)

    def container_ready(self, function_id: FunctionId, app_id: AppId, seconds: float) -> None:
        """So long after it was wanted."""
        tally = self._tallies.get(function_id) or self._open(function_id, app_id)
        tally.starts[bisect_left(BOUNDS, seconds)] += 1
        tally.starts_total += seconds

    def container_ended(self, function_id: FunctionId, app_id: AppId, *, is_broken: bool) -> None:
        tally = self._tallies.get(function_id) or self._open(function_id, app_id)
        tally.ended += 1
        tally.broken += is_broken

    # What is looked at now and then.

    def used(self, function_id: FunctionId, app_id: AppId, seconds: float, used: Usage, at: Point) -> None:
        """What a container has used in so many seconds, and the point that this is of its curves."""
        tally = self._tallies.get(function_id) or self._open(function_id, app_id)
        tally.measured += seconds
        tally.cpu += used.cpu_core_seconds
        tally.memory += used.memory_gib_seconds
        tally.gpu += sum(used.gpu_seconds.values())
        tally.most_cpu = max(tally.most_cpu, at.cpu_cores)
        tally.most_memory = max(tally.most_memory, at.memory_bytes / GIB)

    def begin_sample(self) -> None:
        """A look at all functions begins; those that it does not mention have nothing now."""
        self._samples += 1
        for tally in self._tallies.values():
            tally.last_containers = 0

    def sample(self, function_id: FunctionId, app_id: AppId, queued: int, running: int, containers: int) -> None:
        tally = self._tallies.get(function_id) or self._open(function_id, app_id)
        tally.queued += queued
        tally.most_queued = max(tally.most_queued, queued)
        tally.running += running
        tally.most_running = max(tally.most_running, running)
        tally.containers += containers
        tally.most_containers = max(tally.most_containers, containers)
        tally.last_containers = containers

    # What it has counted.

    def peek(self) -> Iterable[tuple[FunctionId, AppId, Figures]]:
        return [(function_id, tally.app_id, tally.figures(self._samples)) for function_id, tally in self._tallies.items()]

    def take(self, known: Container[FunctionId]) -> Iterable[tuple[FunctionId, AppId, Figures]]:
        """What `peek` says of those that are known, and begin anew with them."""
        taken = [one for one in self.peek() if one[0] in known]
        for function_id, _, _ in taken:
            del self._tallies[function_id]
        self._samples = 0
        return taken

    def requests_of(self, function_id: FunctionId) -> Sequence[ServedRequest]:
        """The last ones that a server answered, oldest first."""
        return [
            ServedRequest(at, place.partition(b"?")[0].decode("latin-1"), task_id, seconds, status)
            for at, place, task_id, seconds, status in self._requests.get(function_id, ())
        ]

    def _open(self, function_id: FunctionId, app_id: AppId) -> _Tally:
        tally = self._tallies[function_id] = _Tally(app_id)
        return tally

    def _log(self, function_id: FunctionId, place: bytes, task_id: str, status: int, seconds: float) -> None:
        log = self._requests.get(function_id)
        if log is None:
            log = self._requests[function_id] = deque(maxlen=_LOGGED)
            if len(self._requests) > _LOGS:
                self._requests.popitem(last=False)
        log.append((self._clock.now(), place, task_id, seconds, status))


def _outcome_of(status: int) -> int:
    """Of a web request: whoever has left cancelled it."""
    if status == _NO_RESPONSE:
        return _CANCELLED
    return _TIMED_OUT if status == _GATEWAY_TIMEOUT else _FAILED
