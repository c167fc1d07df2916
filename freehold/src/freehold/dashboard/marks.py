"""What changes when a page should look again: cheap numbers of what it shows, from memory."""

from collections.abc import Hashable, Iterable

from freehold.control.services.tasks import LiveTask
from freehold.control.wakeups import Wakeup
from freehold.dashboard.live import Mark
from freehold.dashboard.parts import Parts
from freehold.domain.ids import AppId, CallId, FunctionId, ImageId, TaskId, is_id


class Marks:
    """`changed` are hints that lists go by: of tasks, of schedules."""

    def __init__(self, parts: Parts, changed: tuple[Wakeup, ...]) -> None:
        self._parts = parts
        self._changed = changed

    def of(self, subject: str) -> Mark:
        """Of an id, or of everything."""
        if is_id(subject, "fu"):
            return lambda: self._of_function(FunctionId(subject))
        if is_id(subject, "fc"):
            return lambda: self._of_call(CallId(subject))
        if is_id(subject, "ta"):
            return lambda: self._of_task(TaskId(subject))
        if is_id(subject, "ap"):
            return lambda: self._of_app(AppId(subject))
        if is_id(subject, "im"):
            return lambda: self._parts.logs.is_done(ImageId(subject))
        return self._of_all

    def _hints(self) -> Hashable:
        return tuple(changed.generation for changed in self._changed)

    def _of_all(self) -> Hashable:
        return self._hints(), _load(self._parts.tasks.all())

    def _of_app(self, app_id: AppId) -> Hashable:
        return self._hints(), _load([live for live in self._parts.tasks.all() if live.task.app_id == app_id])

    def _of_function(self, function_id: FunctionId) -> Hashable:
        pool = self._parts.calls.find_pool(function_id)
        waiting = (pool.queued, pool.running, len(pool.paused)) if pool is not None else ()
        return waiting, _load(self._parts.tasks.of_function(function_id).values())

    def _of_call(self, call_id: CallId) -> Hashable:
        call = self._parts.calls.find_live(call_id)
        if call is None:
            return ()
        running = sum(live.is_running for live in list(call.inputs.values())[:100])
        return call.unfinished, len(call.outputs), running, call.record.is_cancelled

    def _of_task(self, task_id: TaskId) -> Hashable:
        live = self._parts.tasks.find(task_id)
        return _load([live]) if live is not None else ()


def _load(tasks: Iterable[LiveTask]) -> Hashable:
    return tuple((live.id, live.state, live.load, live.idle_since, live.is_stopping) for live in tasks)
