"""What people see and change of a function's scaling while it runs."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from modal_proto import api_pb2

from freehold.control.services.calls import Calls
from freehold.control.services.functions import Functions, LiveFunction
from freehold.control.services.machines import Machines
from freehold.control.services.tasks import LiveTask, Tasks
from freehold.domain import overrides
from freehold.domain.clock import Clock
from freehold.domain.errors import InvalidRequest
from freehold.domain.functions import AutoscalerSettings, Function
from freehold.domain.ids import FunctionId
from freehold.domain.overrides import AutoscalerOverride
from freehold.domain.tasks import TaskState

_OWNER = "the owner of this engine"


class Scaling:
    def __init__(self, *, functions: Functions, calls: Calls, tasks: Tasks, machines: Machines, clock: Clock) -> None:
        self._functions = functions
        self._calls = calls
        self._tasks = tasks
        self._machines = machines
        self._clock = clock

    def stats(self, live: LiveFunction) -> api_pb2.FunctionStats:
        """Headroom is what its ready tasks could take at once beyond what they run."""
        pool = self._calls.find_pool(live.id)
        tasks = self._tasks.of_function(live.id).values()
        return api_pb2.FunctionStats(
            backlog=pool.queued if pool is not None else 0,
            num_total_tasks=len(tasks),
            num_running_inputs=sum(task.load for task in tasks),
            input_headroom=_headroom(tasks, live.spec.concurrency.max_inputs),
        )

    async def update(self, live: LiveFunction, request: api_pb2.FunctionUpdateSchedulingParamsRequest) -> api_pb2.AutoscalerSettings:
        """Holds until the next deploy. Fields that are not given keep their value. Raises InvalidRequest for what cannot be kept."""
        override = self._functions.override_of(live).changed(_given(request), self._clock.now())
        settings = overrides.apply(live.spec.autoscaler, override)
        overrides.check(settings, most_tasks=self._machines.most_tasks)
        await self._functions.override_autoscaler(live, override)
        return _message(settings)

    def configuration(self, live: LiveFunction) -> api_pb2.AutoscalerConfiguration:
        """The settings in force, those of the definition, and who changed which when."""
        override = self._functions.override_of(live)
        return api_pb2.AutoscalerConfiguration(
            settings=_message(self._functions.autoscaler_of(live)),
            default_settings=_message(AutoscalerSettings()),
            static_settings=_message(live.spec.autoscaler),
            override_settings=_only(override),
            override_events={name: _action(override, name) for name in override.values},
        )

    async def variants(self, base_id: FunctionId, limit: int) -> Sequence[Function]:
        """Functions bound to this one, those with most tasks first."""
        bound = await self._functions.bound_to(base_id)
        busiest = sorted(bound, key=lambda function: -len(self._tasks.of_function(function.id)))
        return busiest[: limit or None]

    async def cautions(self, function_ids: Iterable[FunctionId]) -> Sequence[str]:
        """What functions ask of the machine and do not get, in words for the person who deploys them."""
        found = []
        for function_id in function_ids:
            live = await self._functions.live(function_id)
            if lack := self._machines.caution(live.spec.resources):
                found.append(f"{live.function.tag} asks for {lack}: it runs with what there is.")
            if remark := self._machines.remark(live.spec.resources):
                found.append(f"{live.function.tag} {remark}.")
            if live.spec.autoscaler.min_containers > self._machines.most_tasks:
                found.append(f"{live.function.tag} asks for more containers than this machine takes: {self._machines.most_tasks}.")
        return found

    def concurrency(self, live: LiveFunction, target: int, maximum: int) -> int:
        """How many inputs a task should take at once: its target, and up to its maximum while more are waiting."""
        pool = self._calls.find_pool(live.id)
        return maximum if pool is not None and pool.queued else target


def _headroom(tasks: Iterable[LiveTask], max_inputs: int) -> int:
    ready = [task for task in tasks if task.state is TaskState.READY and not task.is_stopping]
    return sum(max(max_inputs - task.load, 0) for task in ready)


def _given(request: api_pb2.FunctionUpdateSchedulingParamsRequest) -> Mapping[str, float]:
    """The fields that the client sent. An older one sends the number of its warm pool beside them."""
    values = {field.name: value for field, value in request.settings.ListFields()}
    if "target_concurrency_float" in values:
        values["target_concurrency"] = values.pop("target_concurrency_float")
    if request.warm_pool_size_override and "min_containers" not in values:
        values["min_containers"] = request.warm_pool_size_override
    if not all(0 <= value < 2**31 for value in values.values()):  # NaN too
        msg = "Autoscaler settings are numbers that are not negative."
        raise InvalidRequest(msg)
    return values


def _action(override: AutoscalerOverride, name: str) -> api_pb2.UserActionInfo:
    return api_pb2.UserActionInfo(requested_by=_OWNER, user_id="us-owner", timestamp=override.changed_at[name].timestamp())


def _only(override: AutoscalerOverride) -> api_pb2.AutoscalerSettings:
    """The changed fields and no others."""
    everything, changed = _message(overrides.apply(AutoscalerSettings(), override)), api_pb2.AutoscalerSettings()
    for name in override.values:
        field = "target_concurrency_float" if name == "target_concurrency" else name
        setattr(changed, field, getattr(everything, field))
    return changed


def _message(settings: AutoscalerSettings) -> api_pb2.AutoscalerSettings:
    message = api_pb2.AutoscalerSettings(
        min_containers=settings.min_containers,
        max_containers=settings.max_containers or 0,
        buffer_containers=settings.buffer_containers,
        scaledown_window=_whole(settings.scaledown_window),
    )
    if settings.scaleup_window:
        message.scaleup_window = _whole(settings.scaleup_window)
    if settings.scaledown_rate_limit:
        message.scaledown_rate_limit = settings.scaledown_rate_limit
    if settings.target_concurrency:
        message.target_concurrency_float = settings.target_concurrency
    return message


def _whole(length: timedelta) -> int:
    return int(length.total_seconds())
