"""What goes on in this moment, by function: what waits and runs, and the containers that there are for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from freehold.control.services.calls import Calls
from freehold.control.services.tasks import Tasks
from freehold.domain.clock import Clock
from freehold.domain.ids import AppId, FunctionId
from freehold.domain.tasks import TaskState


@dataclass(frozen=True, slots=True)
class Now:
    """What goes on in this moment. `containers` are those of each state that has some."""

    queued: int = 0
    running: int = 0
    containers: Mapping[TaskState, int] = field(default_factory=dict)
    waiting: float = 0.0  # seconds that the oldest input or web request has waited

    @property
    def all_containers(self) -> int:
        return sum(self.containers.values())

    def beside(self, other: "Now") -> "Now":
        states = {*self.containers, *other.containers}
        return Now(
            queued=self.queued + other.queued,
            running=self.running + other.running,
            containers={state: self.containers.get(state, 0) + other.containers.get(state, 0) for state in states},
            waiting=max(self.waiting, other.waiting),
        )


class Activity:
    def __init__(self, *, calls: Calls, tasks: Tasks, clock: Clock) -> None:
        self._calls = calls
        self._tasks = tasks
        self._clock = clock

    def of(self, function_id: FunctionId) -> Now:
        states: dict[TaskState, int] = {}
        for task in self._tasks.of_function(function_id).values():
            states[task.state] = states.get(task.state, 0) + 1
        pool = self._calls.find_pool(function_id)
        if pool is None:
            return Now(containers=states)
        since = pool.waiting_since
        waiting = max(self._clock.monotonic() - since, 0.0) if since is not None else 0.0
        return Now(queued=pool.queued, running=pool.running, containers=states, waiting=waiting)

    def together(self, function_ids: Iterable[FunctionId]) -> Now:
        found = Now()
        for function_id in function_ids:
            found = found.beside(self.of(function_id))
        return found

    def of_all(self) -> Now:
        return self.together({*self._tasks.functions_with_tasks(), *(pool.function_id for pool in self._calls.pools())})

    def busy(self) -> Mapping[FunctionId, AppId]:
        """Functions that have containers, or something to do, and whose they are."""
        found = {pool.function_id: pool.app_id for pool in self._calls.pools() if not pool.is_idle}
        for function_id in self._tasks.functions_with_tasks():
            found.setdefault(function_id, next(iter(self._tasks.of_function(function_id).values())).task.app_id)
        return found
