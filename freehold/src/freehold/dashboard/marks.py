"""The mark of what a page shows: cheap numbers, from memory, that differ when the page should look again."""

from collections.abc import Hashable, Iterable
from itertools import islice

from freehold.control.services.tasks import LiveTask
from freehold.control.wakeups import Wakeup
from freehold.dashboard.parts import Parts
from freehold.domain.ids import AppId, CallId, FunctionId, ImageId, TaskId, is_id

_LOOKED_AT = 100  # inputs of a call, as many as its page shows, and variants of a function


class Marks:
    """`changed` are hints that lists go by: of tasks, of schedules."""

    def __init__(self, parts: Parts, changed: tuple[Wakeup, ...]) -> None:
        self._parts = parts
        self._changed = changed

    def of(self, subject: str) -> Hashable:
        """Of an id, or of everything."""
        if is_id(subject, "fu"):
            return self._of_function(FunctionId(subject))
        if is_id(subject, "fc"):
            return self._of_call(CallId(subject))
        if is_id(subject, "ta"):
            return self._of_task(TaskId(subject))
        if is_id(subject, "ap"):
            return self._of_app(AppId(subject))
        if is_id(subject, "im"):
            return self._parts.logs.is_done(ImageId(subject))
        return self._of_all()

    def _hints(self) -> Hashable:
        return tuple(changed.generation for changed in self._changed)

    def _of_all(self) -> Hashable:
        return self._hints(), _load(self._parts.tasks.all())

    def _of_app(self, app_id: AppId) -> Hashable:
        return self._hints(), _load([live for live in self._parts.tasks.all() if live.task.app_id == app_id])

    def _of_function(self, function_id: FunctionId) -> Hashable:
        """With its variants, of which a class with parameters consists."""
        variants = islice(self._parts.functions.known_variants(function_id), _LOOKED_AT)
        return tuple(self._of_one(one) for one in (function_id, *variants))

    def _of_one(self, function_id: FunctionId) -> Hashable:
        pool = self._parts.calls.find_pool(function_id)
        waiting = (pool.queued, pool.running, len(pool.paused)) if pool is not None else ()
        return waiting, _load(self._parts.tasks.of_function(function_id).values())

    def _of_call(self, call_id: CallId) -> Hashable:
        call = self._parts.calls.find_live(call_id)
        if call is None:
            return ()
        running = sum(live.is_running for live in islice(call.inputs.values(), _LOOKED_AT))
        return call.unfinished, len(call.outputs), running, call.record.is_cancelled

    def _of_task(self, task_id: TaskId) -> Hashable:
        live = self._parts.tasks.find(task_id)
        return _load([live]) if live is not None else ()


def _load(tasks: Iterable[LiveTask]) -> Hashable:
    return tuple((live.id, live.state, live.load, live.idle_since, live.is_stopping) for live in tasks)
