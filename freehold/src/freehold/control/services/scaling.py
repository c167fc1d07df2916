"""What people see and change of a function's scaling while it runs."""

from dataclasses import replace
from datetime import timedelta

from modal_proto import api_pb2

from freehold.control.services.calls import Calls
from freehold.control.services.functions import Functions, LiveFunction
from freehold.control.services.tasks import Tasks
from freehold.domain.errors import InvalidRequest
from freehold.domain.functions import AutoscalerSettings


class Scaling:
    def __init__(self, *, functions: Functions, calls: Calls, tasks: Tasks) -> None:
        self._functions = functions
        self._calls = calls
        self._tasks = tasks

    def stats(self, live: LiveFunction) -> api_pb2.FunctionStats:
        pool = self._calls.find_pool(live.id)
        tasks = self._tasks.of_function(live.id)
        running = sum(len(task.running) for task in tasks.values())
        capacity = len(tasks) * live.spec.concurrency.max_inputs
        return api_pb2.FunctionStats(
            backlog=len(pool) if pool else 0,
            num_total_tasks=len(tasks),
            num_running_inputs=running,
            input_headroom=max(capacity - running, 0),
        )

    def update(self, live: LiveFunction, request: api_pb2.FunctionUpdateSchedulingParamsRequest) -> api_pb2.AutoscalerSettings:
        """Holds until the next deploy. Fields that are not given keep their value."""
        given = {field.name: value for field, value in request.settings.ListFields()}
        old = self._functions.autoscaler_of(live)
        new = replace(
            old,
            min_containers=given.get("min_containers", old.min_containers),
            max_containers=given.get("max_containers", old.max_containers) or None,
            buffer_containers=given.get("buffer_containers", old.buffer_containers),
            scaledown_window=timedelta(seconds=given.get("scaledown_window", old.scaledown_window.total_seconds())),
        )
        _check(new)
        self._functions.override_autoscaler(live, new)
        return _message(new)

    def concurrency(self, live: LiveFunction, target: int, maximum: int) -> int:
        """How many inputs a task should take at once: its target, and up to its maximum while more are waiting."""
        pool = self._calls.find_pool(live.id)
        return maximum if pool and len(pool) else target


def _check(settings: AutoscalerSettings) -> None:
    if settings.max_containers is not None and settings.max_containers < settings.min_containers:
        msg = f"max_containers ({settings.max_containers}) is below min_containers ({settings.min_containers})."
        raise InvalidRequest(msg)


def _message(settings: AutoscalerSettings) -> api_pb2.AutoscalerSettings:
    return api_pb2.AutoscalerSettings(
        min_containers=settings.min_containers,
        max_containers=settings.max_containers or 0,
        buffer_containers=settings.buffer_containers,
        scaledown_window=int(settings.scaledown_window.total_seconds()),
    )
