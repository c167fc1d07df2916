"""Why a function, a call, an input or a container is as it is: gathers the facts, `domain.explaining` says them."""

from collections.abc import Iterable, Mapping
from typing import Any

from modal_proto import api_pb2

from freehold.control.services.apps import Apps
from freehold.control.services.call_history import PastCall, PastInput
from freehold.control.services.call_records import CallRecords
from freehold.control.services.calls import Calls
from freehold.control.services.decisions import Decisions
from freehold.control.services.functions import Functions, LiveFunction
from freehold.control.services.images import Images
from freehold.control.services.journal import Journal
from freehold.control.services.live import InputState, LiveInput
from freehold.control.services.task_history import TaskHistory
from freehold.control.services.tasks import LiveTask, Tasks
from freehold.domain.calls import Invocation
from freehold.domain.clock import Clock
from freehold.domain.errors import InvalidRequest, NotFound
from freehold.domain.explaining import (
    Explanation,
    FunctionFacts,
    InputFacts,
    TaskFacts,
    duration,
    explain_function,
    explain_input,
    explain_task,
)
from freehold.domain.functions import AutoscalerSettings
from freehold.domain.ids import CallId, FunctionId, InputId, TaskId, is_id
from freehold.domain.images import ImageState
from freehold.domain.tasks import TaskState
from freehold.observability.events import Event
from freehold.store.ports import Store

_EVENTS = 12
_VARIANTS = 3  # of a function that are explained one by one
_INPUTS = 3  # of a map that are explained one by one
_LOOK_AT = 1000  # inputs in a queue that are counted to tell a position
_R = api_pb2.GenericResult
_ENDS: Mapping[int, str] = {
    _R.GENERIC_STATUS_SUCCESS: "succeeded",
    _R.GENERIC_STATUS_FAILURE: "failed",
    _R.GENERIC_STATUS_TERMINATED: "was cancelled",
    _R.GENERIC_STATUS_TIMEOUT: "ran into its timeout",
    _R.GENERIC_STATUS_INIT_FAILURE: "got no container that became ready",
    _R.GENERIC_STATUS_KERNEL_OOM_KILL: "ran out of memory",
}
_LET_GO = ("task_draining", "task_stop_wanted")


class Explanations:
    def __init__(
        self,
        *,
        store: Store,
        apps: Apps,
        functions: Functions,
        calls: Calls,
        records: CallRecords,
        tasks: Tasks,
        history: TaskHistory,
        images: Images,
        decisions: Decisions,
        journal: Journal,
        clock: Clock,
        default_maximum: int,
    ) -> None:
        self._store = store
        self._apps = apps
        self._functions = functions
        self._calls = calls
        self._records = records
        self._tasks = tasks
        self._history = history
        self._images = images
        self._decisions = decisions
        self._journal = journal
        self._clock = clock
        self._default_maximum = default_maximum

    async def why(self, request: dict[str, Any]) -> dict[str, Any]:
        """`subject` is an id or `app.function`, `environment` that of the name. Sentences, numbers and the last events."""
        subject = str(request.get("subject", ""))
        subject_id = await self.id_of(subject, str(request.get("environment", "")))
        explanation = await self.of(subject_id)
        events = await self._events(subject_id)
        return {
            "subject": subject_id,
            "sentences": list(explanation.sentences),
            "numbers": dict(explanation.numbers),
            "events": [{"at": event.at.isoformat(), "kind": event.kind, "cause": event.cause, **event.fields} for event in events],
        }

    async def of(self, subject: str) -> Explanation:
        """Raises NotFound when nothing is known of this id."""
        if is_id(subject, "fu"):
            return await self._of_function(FunctionId(subject))
        if is_id(subject, "fc"):
            return await self._of_call(await self._records.get(CallId(subject)))
        if is_id(subject, "in"):
            return await self._of_input(InputId(subject))
        return await self._of_task(TaskId(subject))

    async def id_of(self, subject: str, environment: str) -> str:
        """An id as it is, or that of the function that is meant by `app.function`. Raises InvalidRequest and NotFound."""
        if any(is_id(subject, prefix) for prefix in ("fu", "fc", "in", "ta")):
            return subject
        for app_name, tag in _names(subject):
            if (app := await self._apps.find_deployed(environment, app_name)) is not None:
                tags = (await self._apps.layout(app.id)).function_ids
                cls = tag.partition(".")[0]  # `Model.predict`: all methods of a class share its containers
                return tags.get(f"{tag}.*") or tags.get(f"{cls}.*") or await self._apps.function_id(app, tag)
        if (app := await self._apps.find_deployed(environment, subject)) is not None:
            names = sorted(f"{subject}.{tag.removesuffix('.*')}" for tag in (await self._apps.layout(app.id)).function_ids)
            msg = f"{subject!r} is an app. Ask about one of its functions: {', '.join(names) or 'it has none'}."
            raise InvalidRequest(msg)
        msg = (
            f"{subject!r} is neither an id (fu-…, fc-…, in-…, ta-…) nor a deployed app.function. `modal app list` shows what is deployed, "
            "`modal container list` what runs."
        )
        raise InvalidRequest(msg) if "." not in subject and "/" not in subject else NotFound(msg)

    async def _of_function(self, function_id: FunctionId) -> Explanation:
        """With its busiest variants: of a class with parameters, it is they who run."""
        facts = await self._function(function_id)
        bound = await self._functions.bound_to(function_id)
        busy = sorted((one.id for one in bound if self._has_work(one.id)), key=lambda one: -len(self._tasks.of_function(one)))
        told = [explain_function(await self._function(one)) for one in busy[:_VARIANTS]]
        if not told:
            return explain_function(facts)
        own = explain_function(facts).sentences if self._has_work(function_id) else ()
        more = (f"And {len(busy) - _VARIANTS} more variants.",) if len(busy) > _VARIANTS else ()
        return Explanation(sentences=(*own, *(sentence for one in told for sentence in one.sentences), *more), numbers=told[0].numbers)

    def _has_work(self, function_id: FunctionId) -> bool:
        pool = self._calls.find_pool(function_id)
        return bool(self._tasks.of_function(function_id) or (pool is not None and pool.queued))

    async def _of_call(self, call: PastCall) -> Explanation:
        function = await self._function(call.record.function_id)
        by_end = [item for item in call.inputs if item.status]
        open_ones = [item for item in call.inputs if not item.status]
        kind = "asynchronous" if call.record.invocation is Invocation.ASYNC else "synchronous"
        made = f"{call.record.id} is a call of {function.name}, {kind}, made {duration(max((self._clock.now() - call.record.created_at).total_seconds(), 0.0))} ago"
        tally = call.tally
        first = made + (f"; {tally.finished} of {tally.total} inputs have a result." if tally.total != 1 else ".")
        cancelled = ("It was cancelled.",) if call.record.is_cancelled else ()
        told = [explain_input(self._input(item), function) for item in (open_ones or by_end)[:_INPUTS]]
        more = tally.unfinished - _INPUTS
        rest = (f"{more} more inputs have no result yet.",) if more > 0 else ()
        sentences = (first, *cancelled, *(sentence for explanation in told for sentence in explanation.sentences), *rest)
        numbers = {**(told[0].numbers if told else {}), "inputs": tally.total, "results": tally.finished}
        return Explanation(sentences=tuple(dict.fromkeys(sentences)), numbers=numbers)

    async def _of_input(self, input_id: InputId) -> Explanation:
        call = await self._records.call_of(input_id)
        if call is None:
            msg = f"No input {input_id}: results are kept for days, inputs of synchronous calls only for a while."
            raise NotFound(msg)
        item = next(item for item in call.inputs if item.id == input_id)
        return explain_input(self._input(item), await self._function(call.record.function_id))

    async def _of_task(self, task_id: TaskId) -> Explanation:
        task = await self._history.get(task_id)
        live = self._tasks.find(task_id)
        causes = {event.kind: event.cause for event in await self._events(task_id)}
        return explain_task(
            task,
            self._task(live) if live else None,
            await self._function(task.function_id) if live else None,
            started_for=causes.get("task_wanted", ""),
            let_go_for=next((causes[kind] for kind in _LET_GO if causes.get(kind)), ""),
        )

    def _input(self, item: PastInput) -> InputFacts:
        end = _ENDS.get(item.status, "ended") if item.status else ""
        live = self._calls.find_input(item.id)
        if live is None or end:
            return InputFacts(
                id=item.id, attempts=item.tries, end=end or ("" if item.is_running else "left no result: the engine forgot it")
            )
        return self._live_input(live, item)

    def _live_input(self, live: LiveInput, item: PastInput) -> InputFacts:
        now = self._clock.monotonic()
        return InputFacts(
            id=live.id,
            position=self._position(live) if live.state is InputState.QUEUED else 0,
            waited=now - live.queued_at,
            task_id=live.task_id or "",
            running_for=now - live.claimed_at,
            next_try_in=self._next_try(live),
            attempts=live.tries or item.tries,
        )

    def _next_try(self, live: LiveInput) -> float | None:
        if live.next_try is None:
            return None
        return max(live.next_try.when() - self._clock.monotonic(), 0.0)

    def _position(self, live: LiveInput) -> int:
        pool = self._calls.find_pool(live.call.function_id)
        for position, other in enumerate(pool.waiting() if pool is not None else (), start=1):
            if other is live or position > _LOOK_AT:
                return position
        return 0

    async def _function(self, function_id: FunctionId) -> FunctionFacts:
        async with self._store.transaction() as tx:
            function = await tx.functions.get(function_id)
            app = await tx.apps.get(function.app_id)
        variant = f" ({function_id}, a variant)" if function.is_bound else ""
        name = f"{app.name or app.description}.{function.tag.removesuffix('.*')}{variant}"
        try:
            live = await self._functions.live(function_id)
        except NotFound as error:
            return FunctionFacts(id=function_id, name=name, settings=AutoscalerSettings(), ceiling=0, ended=str(error))
        return await self._live_function(live, name)

    async def _live_function(self, live: LiveFunction, name: str) -> FunctionFacts:
        standing, pause, pool = self._decisions.latest(live.id), self._tasks.pause_of(live.id), self._calls.find_pool(live.id)
        tasks = self._tasks.of_function(live.id).values()
        oldest = pool.waiting_since if pool is not None else None
        return FunctionFacts(
            id=live.id,
            name=name,
            settings=self._functions.autoscaler_of(live),
            ceiling=self._default_maximum,
            decision=standing.decision if standing else None,
            queued=pool.queued if pool is not None else 0,
            running=sum(task.load for task in tasks),
            between_tries=len(pool.paused) if pool is not None else 0,
            oldest_wait=self._clock.monotonic() - oldest if oldest is not None else 0.0,
            tasks=[self._task(task) for task in tasks],
            no_place=standing.shortage.no_place.reason if standing and standing.shortage else "",
            is_never_placed=bool(standing and standing.shortage and standing.shortage.no_place.is_for_good),
            failed_starts=pause.failures if pause else 0,
            next_start_in=pause.seconds if pause else 0.0,
            image_state=await self._image_state(live),
            changed=self._functions.override_of(live).values,
        )

    async def _image_state(self, live: LiveFunction) -> str:
        try:
            image = await self._images.get(live.spec.image_id)
        except NotFound:
            return "gone"
        return "" if image.state is ImageState.BUILT else image.state.value

    def _task(self, task: LiveTask) -> TaskFacts:
        now = self._clock.monotonic()
        is_idle = task.state is TaskState.READY and not task.load
        return TaskFacts(
            id=task.id,
            state=task.state,
            age=now - task.since,
            running=task.load,
            idle_for=now - task.idle_since if is_idle else None,
            is_stopping=task.is_stopping,
        )

    async def _events(self, subject: str) -> list[Event]:
        await self._journal.flush()
        async with self._store.transaction() as tx:
            return list(await tx.events.latest(subject, _EVENTS))


def _names(subject: str) -> Iterable[tuple[str, str]]:
    """Every way to read it as app and function: both may have points in them."""
    if "/" in subject:
        app_name, _, tag = subject.partition("/")
        yield app_name, tag.removesuffix(".*")
        return
    parts = subject.removesuffix(".*").split(".")
    for cut in range(len(parts) - 1, 0, -1):
        yield ".".join(parts[:cut]), ".".join(parts[cut:])
