"""Cold starts: what containers report of theirs becomes an event of their task, and is read from there."""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from freehold.control.services.apps import Apps
from freehold.control.services.explanations import Explanations
from freehold.control.services.functions import Functions
from freehold.control.services.journal import Journal
from freehold.control.services.task_history import TaskHistory
from freehold.control.services.tasks import Tasks
from freehold.domain.coldstarts import (
    LATER,
    ColdStart,
    Import,
    Phase,
    advice,
    durations,
    medians,
    parse_report,
    since,
    slowest_imports,
    whole,
)
from freehold.domain.errors import NotFound
from freehold.domain.ids import AppId, FunctionId, TaskId, is_id
from freehold.domain.tasks import Task
from freehold.observability.events import Event
from freehold.store.import_lists import ImportLists
from freehold.store.ports import Store

log = structlog.get_logger()

_SHOWN = 10  # starts
_LOOK_AT = 200  # of an app's last tasks, for those of one function
_PLAIN = "plain"
_MOST_REPORTS = 6  # of one container: ours sends five


class ColdStarts:
    def __init__(
        self,
        *,
        store: Store,
        journal: Journal,
        tasks: Tasks,
        history: TaskHistory,
        apps: Apps,
        functions: Functions,
        explanations: Explanations,
        imports: ImportLists,
    ) -> None:
        self._store = store
        self._journal = journal
        self._tasks = tasks
        self._history = history
        self._apps = apps
        self._functions = functions
        self._explanations = explanations
        self._imports = imports

    async def report(self, task_id: TaskId, payload: bytes) -> None:
        """What a container says of its start, when it is ready, and of imports after that. Raises InvalidRequest."""
        live = self._tasks.get(task_id)
        live.reports += 1
        if live.reports > _MOST_REPORTS:
            return
        report = parse_report(payload)
        packages = json.dumps([[item.name, round(item.total, 4), round(item.own, 4), item.origin] for item in report.imports])
        if report.kind == LATER:
            self._journal.event(task_id, "task_imported", fields={"packages": packages})
        else:
            spans = {name: f"{moment:.4f}" for name, moment in since(live.wanted_at, report.moments).items()}
            self._journal.event(task_id, "task_measured", fields={"start": report.kind, **spans, "packages": packages})
        if not live.is_build:
            await self._keep_modules(live.task, report.modules, more=report.kind != _PLAIN)

    async def _keep_modules(self, task: Task, modules: Sequence[str], *, more: bool) -> None:
        if more and not modules:
            return
        try:
            live = await self._functions.live(task.function_id)
        except NotFound:  # its app ends
            return
        await self._imports.put(live.spec.image_id, task.app_id, task.function_id, modules, more=more)

    async def show(self, request: dict[str, Any]) -> dict[str, Any]:
        """`subject` is an app, `app.function`, or the id of a function or task; `environment` that of the name. Milliseconds."""
        subject, environment = str(request.get("subject", "")), str(request.get("environment", ""))
        starts = [await self.start_of(task) for task in await self._tasks_of(subject, environment)]
        known = [start for start in starts if start.moments]
        names = await self._names(known)
        return {
            "subject": subject,
            "phases": [phase.value for phase in Phase],
            "starts": [{**_row(start), "function": names[start.function_id]} for start in known],
            "medians": {kind: _summary([start for start in known if start.kind == kind]) for kind in {start.kind for start in known}},
            "no_snapshot": {names[id_]: why for id_, why in _unsnapshotted(known).items()},
            "imports": [_import_row(item) for item in slowest_imports(known)],
        }

    async def of_task(self, task_id: TaskId) -> ColdStart:
        """Raises NotFound."""
        return await self.start_of(await self._history.get(task_id))

    async def _tasks_of(self, subject: str, environment: str) -> Sequence[Task]:
        """The last ones that became ready, newest first."""
        if is_id(subject, "ta"):
            return [await self._history.get(TaskId(subject))]
        if (app := await self._apps.find_deployed(environment, subject)) is not None:
            return await self._ready_ones(app.id, None)
        function_id = FunctionId(await self._explanations.id_of(subject, environment))
        async with self._store.transaction() as tx:
            function = await tx.functions.get(function_id)
        return await self._ready_ones(function.app_id, function_id)

    async def _ready_ones(self, app_id: AppId, function_id: FunctionId | None) -> Sequence[Task]:
        await self._journal.flush()
        async with self._store.transaction() as tx:
            ready = [task for task in await tx.tasks.of_app(app_id, limit=_LOOK_AT) if task.ready_at]
            variants = {function.id for function in await tx.functions.of_app(app_id) if function.base_id == function_id}
        return [task for task in ready if function_id is None or task.function_id == function_id or task.function_id in variants][:_SHOWN]

    async def start_of(self, task: Task) -> ColdStart:
        await self._journal.flush()
        async with self._store.transaction() as tx:
            events = await tx.events.of(task.id, limit=20)
        return _read(task, events)

    async def _names(self, starts: Sequence[ColdStart]) -> Mapping[FunctionId, str]:
        async with self._store.transaction() as tx:
            functions = [await tx.functions.get(function_id) for function_id in {start.function_id for start in starts}]
        return {function.id: function.tag.removesuffix(".*") for function in functions}


def _read(task: Task, story: Sequence[Event]) -> ColdStart:
    """A start from the events of its task: the engine's own, each at its time, and the container's reports."""
    events = {event.kind: event for event in reversed(story)}
    wanted = events.get("task_wanted")
    measured = dict(events["task_measured"].fields) if "task_measured" in events else {}
    kind = measured.pop("start", "")
    measured.pop("packages", None)
    moments = {name: float(value) for name, value in measured.items()}
    for phase, name in ((Phase.CONTAINER, "task_starting"), (Phase.ENTER, "task_ready"), (Phase.OUTPUT, "task_answered")):
        if wanted is not None and name in events:
            moments[phase] = max((events[name].at - wanted.at).total_seconds(), 0.0)
    if Phase.OUTPUT in moments:
        moments[Phase.INPUT] = float(events["task_answered"].fields.get("input", moments[Phase.OUTPUT]))
    return ColdStart(
        task_id=task.id,
        function_id=task.function_id,
        at=task.enqueued_at,
        kind=kind or "not measured",
        moments=moments if wanted is not None else {},
        imports=[Import(*item) for event in story for item in json.loads(event.fields.get("packages", "[]"))],
        no_snapshot=events["task_starting"].fields.get("no_snapshot", "") if "task_starting" in events else "",
    )


def _unsnapshotted(starts: Sequence[ColdStart]) -> Mapping[FunctionId, str]:
    """Functions whose last start should have been forked from a snapshot, and why it was not. Newest first."""
    last = {start.function_id: start for start in reversed(starts)}
    return {function_id: start.no_snapshot for function_id, start in last.items() if start.no_snapshot}


def _row(start: ColdStart) -> dict[str, Any]:
    spans = durations(start)
    return {
        "task_id": start.task_id,
        "at": start.at.isoformat(),
        "start": start.kind,
        "phases": {phase.value: _ms(span) for phase, span in spans.items()},
        "all": _ms(whole(spans)),
    }


def _summary(starts: Sequence[ColdStart]) -> dict[str, Any]:
    spans = medians(starts)
    typical = statistics.median(whole(durations(start)) for start in starts)
    return {"starts": len(starts), "phases": {phase.value: _ms(span) for phase, span in spans.items()}, "all": _ms(typical)}


def _import_row(item: Import) -> dict[str, Any]:
    return {"package": item.name, "all": _ms(item.total), "own": _ms(item.own), "origin": item.origin, "advice": advice(item)}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
