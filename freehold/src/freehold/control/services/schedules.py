"""Schedules: they follow what is deployed, and each due time becomes one call.

The turn of a schedule and the call that comes of it are written in one transaction, under the condition that the schedule is still due
at the time that was read: after a crash, or with another engine on the same database, there is either both or nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from modal_proto import api_pb2

from freehold.control.services.calls import Calls, Draft
from freehold.control.services.functions import Functions
from freehold.control.services.live import LiveCall
from freehold.control.wakeups import Wakeup
from freehold.domain import schedules as rules
from freehold.domain.apps import App, AppState, Layout
from freehold.domain.clock import Clock
from freehold.domain.errors import InvalidRequest, NotFound
from freehold.domain.ids import AppId, CallId, FunctionId
from freehold.domain.schedules import Rule, Schedule, Turn
from freehold.observability.events import Event
from freehold.store.ports import Store, Transaction
from freehold.wire import functions as wire

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSchedule:
    """A schedule with the words by which people know it, and its last run's call while that is kept."""

    schedule: Schedule
    app: App
    tag: str
    last_call: LiveCall | None = None

    @property
    def name(self) -> str:
        return f"{self.app.name or self.app.description}.{self.tag}"


_SCHEDULED = {AppState.DEPLOYED, AppState.EPHEMERAL, AppState.DETACHED}


class Schedules:
    def __init__(self, *, store: Store, functions: Functions, calls: Calls, clock: Clock, changed: Wakeup, grace: timedelta) -> None:
        self._store = store
        self._functions = functions
        self._calls = calls
        self._clock = clock
        self._changed = changed
        self._grace = grace

    # What is deployed.

    async def follow(self, tx: Transaction, app: App, layout: Layout) -> None:
        """Within a publication or a stop: the app's schedules are those of its live functions, for as long as it lives."""
        wanted = await _rules(tx, layout) if app.state in _SCHEDULED else {}
        present = {schedule.function_id: schedule for schedule in await tx.schedules.of_app(app.id)}
        for function_id in present.keys() - wanted.keys():
            await tx.schedules.delete(function_id)
            await self._note(tx, function_id, "schedule_removed", cause=f"version {app.version} of its app, {app.state}")
        for function_id, rule in wanted.items():
            await self._set(tx, app.id, function_id, rule, present.get(function_id))
        self._changed.notify()

    async def _set(self, tx: Transaction, app_id: AppId, function_id: FunctionId, rule: Rule, present: Schedule | None) -> None:
        now = self._clock.now()
        wanted = rules.follow(present, rule, now) if present else rules.begin(function_id, app_id, rule, now)
        if wanted != present:
            await tx.schedules.put(wanted)
            await self._note(tx, function_id, "schedule_set", cause="deploy", rule=str(rule), next_at=_text(wanted.next_at))

    # What is due.

    async def due(self, now: datetime) -> Sequence[Schedule]:
        async with self._store.transaction() as tx:
            return await tx.schedules.due(now)

    async def next_at(self) -> datetime | None:
        async with self._store.transaction() as tx:
            return await tx.schedules.next_at()

    async def take_turn(self, schedule: Schedule) -> CallId | None:
        """Run a schedule whose time has come. The call; None if it is too late for one, or if another engine was faster."""
        turn = rules.take_turn(schedule, self._clock.now(), self._grace)
        if turn is None or schedule.next_at is None:
            return None
        draft = await self._draft(schedule.function_id) if turn.due_at else None
        changed = replace(turn.after, last_at=turn.due_at, last_call_id=draft.call.id) if draft else turn.after
        async with self._store.transaction() as tx:
            if not await tx.schedules.advance(changed, schedule.next_at):
                log.info("turn_taken_by_another", function_id=schedule.function_id, due_at=_text(schedule.next_at))
                return None
            if turn.missed:
                await self._note_missed(tx, schedule, turn)
            if draft:
                await self._write(tx, draft, "schedule_fired", f"due at {_text(turn.due_at)}")
        return self._calls.admit(draft).id if draft else None

    async def _draft(self, function_id: FunctionId) -> Draft:
        """Nobody waits for its result: once it is there it leaves memory, and stays on disk as that of any spawned call."""
        live = await self._functions.live(function_id)
        draft = self._calls.draft(live.function, wire.no_arguments(), live.message.retry_policy)
        draft.call.is_unwatched = True
        return draft

    async def _write(self, tx: Transaction, draft: Draft, kind: str, cause: str) -> None:
        await self._calls.write(tx, draft)
        await self._note(tx, draft.call.function_id, kind, cause, call_id=draft.call.id)
        await self._note(tx, draft.call.id, "call_created", cause=f"schedule of {draft.call.function_id}, {cause}")

    async def _note_missed(self, tx: Transaction, schedule: Schedule, turn: Turn) -> None:
        cause = "one run stands for several times" if turn.due_at else f"longer ago than schedule_grace, {self._grace}"
        await self._note(tx, schedule.function_id, "schedule_missed", cause, since=_text(schedule.next_at), times=str(turn.missed))

    # What people ask for, by `app.function`.

    async def list(self) -> Sequence[NamedSchedule]:
        async with self._store.transaction() as tx:
            found = await _all(tx)
        return [replace(item, last_call=await self._call(item.schedule.last_call_id)) for item in found]

    async def run(self, name: str, environment: str = "") -> CallId:
        """Once, now, whatever its rule says and also while it is paused."""
        async with self._store.transaction() as tx:
            schedule = await _find(tx, name, environment)
        draft = await self._draft(schedule.function_id)
        async with self._store.transaction() as tx:
            schedule = await _find(tx, name, environment)
            await tx.schedules.put(replace(schedule, last_at=self._clock.now(), last_call_id=draft.call.id))
            await self._write(tx, draft, "schedule_run", "by hand")
        return self._calls.admit(draft).id

    async def pause(self, name: str, environment: str = "") -> Schedule:
        """Until it is resumed: over restarts and redeploys."""
        async with self._store.transaction() as tx:
            schedule = await _find(tx, name, environment)
            if schedule.is_paused:
                return schedule
            schedule = rules.pause(schedule)
            await tx.schedules.put(schedule)
            await self._note(tx, schedule.function_id, "schedule_paused", "by hand")
        self._changed.notify()
        return schedule

    async def resume(self, name: str, environment: str = "") -> Schedule:
        """With the next time that its rule has from now. One that is not paused is reckoned anew too, by the clock as it now is."""
        async with self._store.transaction() as tx:
            schedule = rules.resume(await _find(tx, name, environment), self._clock.now())
            await tx.schedules.put(schedule)
            await self._note(tx, schedule.function_id, "schedule_resumed", "by hand", next_at=_text(schedule.next_at))
        self._changed.notify()
        return schedule

    async def _call(self, call_id: CallId | None) -> LiveCall | None:
        try:
            return await self._calls.find_record(call_id) if call_id else None
        except NotFound:  # its result was kept for as long as results are
            return None

    async def _note(self, tx: Transaction, subject: str, kind: str, cause: str, **fields: str) -> None:
        """In the same transaction: the story has what happened, and nothing else."""
        await tx.events.add([Event(subject=subject, at=self._clock.now(), kind=kind, cause=cause, fields=fields)])


async def _rules(tx: Transaction, layout: Layout) -> dict[FunctionId, Rule]:
    """Those of its live functions. A rule that a former version took and this one does not is left out, so that the engine starts."""
    found = {}
    for function_id in layout.function_ids.values():
        function = await tx.functions.get(function_id)
        if function.live_definition_id is None:
            continue
        message = wire.effective(await tx.functions.get_definition(function.live_definition_id), function)
        if (rule := wire.rule_of(message)) is not None and _can_run(message, rule):
            found[function_id] = rule
    return found


def _can_run(message: api_pb2.Function, rule: Rule) -> bool:
    try:
        rules.check(rule)
    except InvalidRequest as error:
        log.warning("schedule_refused", function=message.function_name, why=str(error))
        return False
    return not wire.is_web(message)


async def _all(tx: Transaction) -> list[NamedSchedule]:
    """By environment and name."""
    schedules = await tx.schedules.list()
    apps = {app_id: await tx.apps.get(app_id) for app_id in {schedule.app_id for schedule in schedules}}
    tags = {schedule.function_id: (await tx.functions.get(schedule.function_id)).tag for schedule in schedules}
    named = [NamedSchedule(schedule=item, app=apps[item.app_id], tag=tags[item.function_id]) for item in schedules]
    return sorted(named, key=lambda item: (item.app.environment, item.name))


async def _find(tx: Transaction, name: str, environment: str) -> Schedule:
    there = [item for item in await _all(tx) if environment in ("", item.app.environment)]
    found = [item for item in there if item.name == name]
    if len(found) > 1:
        msg = f"There is a {name!r} in each of these environments: {', '.join(item.app.environment for item in found)}. Say which, with --env."
        raise InvalidRequest(msg)
    if not found:
        names = ", ".join(item.name for item in there)
        msg = f"No deployed function {name!r} has a schedule. " + (f"These have: {names}." if names else "None has.")
        raise NotFound(msg)
    return found[0].schedule


def _text(moment: datetime | None) -> str:
    return moment.isoformat(timespec="milliseconds") if moment else "never"
