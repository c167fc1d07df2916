"""The store in memory: real behaviour without a disk, for tests and for trying things. Nothing survives the process."""

import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Generic, TypeVar

import anyio

from freehold.domain.apps import App, AppState, Deployment
from freehold.domain.calls import Attempt, FunctionCall, StoredInput
from freehold.domain.environments import Environment
from freehold.domain.errors import NotFound, Unavailable
from freehold.domain.files import Mount
from freehold.domain.functions import Definition, Function, UserClass
from freehold.domain.ids import (
    AppId,
    CallId,
    ClassId,
    DefinitionId,
    FunctionId,
    ImageId,
    InputId,
    MountId,
    ProxyTokenId,
    SecretId,
    TaskId,
    TokenId,
    VolumeId,
)
from freehold.domain.images import Image
from freehold.domain.overrides import AutoscalerOverride
from freehold.domain.proxy_tokens import ProxyToken
from freehold.domain.rollups import Bucket
from freehold.domain.schedules import Schedule
from freehold.domain.secrets import Secret
from freehold.domain.tasks import Task
from freehold.domain.tokens import Token
from freehold.domain.usage import NOTHING, FunctionUsage, Total, Usage
from freehold.domain.volumes import Volume
from freehold.observability.events import Event
from freehold.store import missing, ports
from freehold.store.ports import Place

K = TypeVar("K")
V = TypeVar("V")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_WAIT = 30.0  # seconds; a transaction takes milliseconds, and one inside another would wait for ever

_Undo = list[Callable[[], object]]


class _Rows(Generic[K, V]):
    """A table: key → value. Every change notes how to take it back."""

    def __init__(self, undo: _Undo) -> None:
        self._values: dict[K, V] = {}
        self._undo = undo

    def __iter__(self) -> Iterator[V]:
        return iter(self._values.values())

    def items(self) -> list[tuple[K, V]]:
        return list(self._values.items())

    def get(self, key: K) -> V | None:
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        self._note(key)
        self._values[key] = value

    def drop(self, key: K) -> None:
        self._note(key)
        self._values.pop(key, None)

    def _note(self, key: K) -> None:
        if key in self._values:
            self._undo.append(partial(self._values.__setitem__, key, self._values[key]))
        else:
            self._undo.append(partial(self._values.pop, key, None))


def _required(found: V | None, error: NotFound) -> V:
    if found is None:
        raise error
    return found


def _page(rows: Iterable[V], place_of: Callable[[V], Place], before: Place | None, limit: int) -> list[V]:
    return sorted((row for row in rows if before is None or place_of(row) < before), key=place_of, reverse=True)[:limit]


class _Environments:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[str, Environment] = _Rows(undo)

    async def put(self, environment: Environment) -> None:
        self._rows.put(environment.id, environment)

    async def find(self, name: str) -> Environment | None:
        return next((row for row in self._rows if row.name == name), None)

    async def get(self, name: str) -> Environment:
        return _required(await self.find(name), missing.environment(name))

    async def list(self) -> Sequence[Environment]:
        return sorted(self._rows, key=lambda row: row.name)

    async def delete(self, name: str) -> None:
        found = await self.find(name)
        if found is not None:
            self._rows.drop(found.id)


class _Apps:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[str, App] = _Rows(undo)
        self._deployments: _Rows[tuple[str, int], Deployment] = _Rows(undo)

    async def put(self, app: App) -> None:
        self._rows.put(app.id, app)

    async def get(self, app_id: AppId) -> App:
        return _required(self._rows.get(app_id), missing.app(app_id))

    async def find_deployed(self, environment: str, name: str) -> App | None:
        apps = await self.list(environment)
        return next((app for app in apps if app.name == name and app.state is AppState.DEPLOYED), None)

    async def list(self, environment: str) -> Sequence[App]:
        found = [app for app in self._rows if app.environment == environment]
        return sorted(found, key=lambda app: (app.created_at, app.id), reverse=True)

    async def list_live(self) -> Sequence[App]:
        return sorted((app for app in self._rows if app.is_live), key=lambda app: (app.created_at, app.id), reverse=True)

    async def stopped(self, before: Place | None, limit: int) -> Sequence[App]:
        return _page((app for app in self._rows if not app.is_live), lambda app: (app.created_at, app.id), before, limit)

    async def put_deployment(self, deployment: Deployment) -> None:
        self._deployments.put((deployment.app_id, deployment.version), deployment)

    async def deployments(self, app_id: AppId) -> Sequence[Deployment]:
        found = [row for row in self._deployments if row.app_id == app_id]
        return sorted(found, key=lambda row: row.version, reverse=True)

    async def find_deployment(self, app_id: AppId, version: int) -> Deployment | None:
        return self._deployments.get((app_id, version))

    async def find_stopped(self, environment: str, name: str) -> App | None:
        stopped = [app for app in self._rows if (app.environment, app.name, app.state) == (environment, name, AppState.STOPPED)]
        return max(stopped, key=lambda app: (app.stopped_at, app.id), default=None)


class _Functions:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[str, Function] = _Rows(undo)
        self._definitions: _Rows[str, Definition] = _Rows(undo)
        self._classes: _Rows[str, UserClass] = _Rows(undo)

    async def put(self, function: Function) -> None:
        self._rows.put(function.id, function)

    async def get(self, function_id: FunctionId) -> Function:
        return _required(self._rows.get(function_id), missing.function(function_id))

    async def find_bound(self, base_id: FunctionId, serialized_params: bytes, options: bytes) -> Function | None:
        wanted = (base_id, serialized_params, options)
        return next((row for row in self._rows if (row.base_id, row.serialized_params, row.options) == wanted), None)

    async def of_app(self, app_id: AppId) -> Sequence[Function]:
        return sorted((row for row in self._rows if row.app_id == app_id), key=lambda row: (row.tag, row.id))

    async def bound_to(self, base_id: FunctionId) -> Sequence[Function]:
        return sorted((row for row in self._rows if row.base_id == base_id), key=lambda row: row.id)

    async def put_definition(self, definition: Definition) -> None:
        self._definitions.put(definition.id, definition)

    async def get_definition(self, definition_id: DefinitionId) -> Definition:
        return _required(self._definitions.get(definition_id), missing.definition(definition_id))

    async def put_class(self, user_class: UserClass) -> None:
        self._classes.put(user_class.id, user_class)

    async def get_class(self, class_id: ClassId) -> UserClass:
        return _required(self._classes.get(class_id), missing.user_class(class_id))


class _Overrides:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[str, tuple[FunctionId, AutoscalerOverride]] = _Rows(undo)

    async def put(self, function_id: FunctionId, override: AutoscalerOverride) -> None:
        self._rows.put(function_id, (function_id, override))

    async def find(self, function_id: FunctionId) -> AutoscalerOverride | None:
        found = self._rows.get(function_id)
        return found[1] if found else None

    async def function_ids(self) -> Sequence[FunctionId]:
        return sorted(function_id for function_id, _ in self._rows)

    async def delete(self, function_ids: Sequence[FunctionId]) -> None:
        for function_id in function_ids:
            self._rows.drop(function_id)


class _Calls:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[str, FunctionCall] = _Rows(undo)
        self._inputs: _Rows[str, StoredInput] = _Rows(undo)
        self._attempts: _Rows[tuple[str, int], Attempt] = _Rows(undo)

    async def put(self, call: FunctionCall) -> None:
        self._rows.put(call.id, call)

    async def find(self, call_id: CallId) -> FunctionCall | None:
        return self._rows.get(call_id)

    async def of_ids(self, call_ids: Collection[CallId]) -> Sequence[FunctionCall]:
        return [call for call in self._rows if call.id in call_ids]

    async def find_by_request(self, request_key: str) -> FunctionCall | None:
        return next((call for call in self._rows if request_key and call.request_key == request_key), None)

    async def children(self, parent_input_ids: Sequence[str]) -> Sequence[FunctionCall]:
        found = (call for call in self._rows if call.parent_input_id and call.parent_input_id in parent_input_ids)
        return sorted(found, key=lambda call: (call.created_at, call.id))

    async def recent(self, function_ids: Sequence[FunctionId], since: datetime, until: datetime, limit: int) -> Sequence[FunctionCall]:
        found = (call for call in self._rows if call.function_id in function_ids and since <= call.created_at < until)
        return sorted(found, key=lambda call: (call.created_at, call.id), reverse=True)[:limit]

    async def add_inputs(self, inputs: Sequence[StoredInput]) -> None:
        for item in inputs:
            self._inputs.put(item.id, item)

    async def inputs(self, call_id: CallId) -> Sequence[StoredInput]:
        return sorted((row for row in self._inputs if row.call_id == call_id), key=lambda row: row.idx)

    async def outline(self, call_ids: Sequence[CallId]) -> Sequence[StoredInput]:
        found = (replace(row, payload=b"", result=None) for row in self._inputs if row.call_id in call_ids)
        return sorted(found, key=lambda row: (row.call_id, row.idx))

    async def contents(self, input_ids: Sequence[InputId]) -> Sequence[StoredInput]:
        return [row for row in self._inputs if row.id in input_ids]

    async def latest(self, before: Place | None, limit: int, *, function_id: FunctionId | None = None) -> Sequence[FunctionCall]:
        found = (call for call in self._rows if function_id in (None, call.function_id))
        return _page(found, lambda call: (call.created_at, call.id), before, limit)

    async def failures(self, app_id: AppId | None, limit: int) -> Sequence[StoredInput]:
        calls = {call.id for call in self._rows if app_id in (None, call.app_id)}
        found = [replace(row, payload=b"", result=None) for row in self._inputs if (row.status or 0) > 1 and row.call_id in calls]
        return sorted(found, key=lambda row: row.finished_at or row.created_at, reverse=True)[:limit]

    async def call_of(self, input_id: InputId) -> CallId | None:
        found = self._inputs.get(input_id)
        return found.call_id if found else None

    async def record_result(self, input_id: InputId, result: bytes, status: int, at: datetime) -> bool:
        found = self._inputs.get(input_id)
        if found is None or found.result is not None:
            return False
        self._inputs.put(input_id, replace(found, result=result, status=status, finished_at=at))
        return True

    async def set_attempt(self, input_id: InputId, attempt: int) -> None:
        if (found := self._inputs.get(input_id)) is not None:
            self._inputs.put(input_id, replace(found, attempt=attempt))

    async def put_attempts(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            self._attempts.put((attempt.input_id, attempt.number), attempt)

    async def attempts_of(self, call_ids: Sequence[CallId]) -> Sequence[Attempt]:
        found = (attempt for attempt in self._attempts if attempt.call_id in call_ids)
        return sorted(found, key=lambda attempt: (attempt.started_at, attempt.input_id, attempt.number))

    async def last_attempts(self) -> Sequence[Attempt]:
        newest = {attempt.input_id: attempt for attempt in sorted(self._attempts, key=lambda attempt: attempt.number)}
        waiting = {row.id for row in self._inputs if row.result is None}
        return [attempt for input_id, attempt in sorted(newest.items()) if input_id in waiting]

    async def unfinished(self) -> Sequence[tuple[FunctionCall, Sequence[StoredInput]]]:
        calls = sorted(self._rows, key=lambda call: (call.created_at, call.id))
        pairs = [(call, [row for row in await self.inputs(call.id) if row.result is None]) for call in calls]
        return [(call, inputs) for call, inputs in pairs if inputs]

    async def delete_finished_before(self, moment: datetime) -> int:
        old = [call for call in self._rows if call.created_at < moment]
        finished = [call for call in old if all(_finished_before(row, moment) for row in await self.inputs(call.id))]
        for call in finished:
            self._rows.drop(call.id)
            for row in await self.inputs(call.id):
                self._inputs.drop(row.id)
        for attempt in [attempt for attempt in self._attempts if attempt.started_at < moment]:
            if self._rows.get(attempt.call_id) is None:
                self._attempts.drop((attempt.input_id, attempt.number))
        return len(finished)

    async def page(self, after: str, limit: int) -> Sequence[StoredInput]:
        return sorted((row for row in self._inputs if row.id > after), key=lambda row: row.id)[:limit]


def _finished_before(row: StoredInput, moment: datetime) -> bool:
    return row.finished_at is not None and row.finished_at < moment


class _Images:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[str, Image] = _Rows(undo)

    async def put(self, image: Image) -> None:
        self._rows.put(image.id, image)

    async def get(self, image_id: ImageId) -> Image:
        return _required(self._rows.get(image_id), missing.image(image_id))

    async def find_by_key(self, key: str) -> Image | None:
        return max((row for row in self._rows if row.key == key), key=lambda row: (row.created_at, row.id), default=None)

    async def unfinished(self) -> Sequence[Image]:
        found = [row for row in self._rows if not row.is_finished]
        return sorted(found, key=lambda row: (row.created_at, row.id))

    async def page(self, before: Place | None, limit: int) -> Sequence[Image]:
        return _page(self._rows, lambda row: (row.created_at, row.id), before, limit)


class _Mounts:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[str, Mount] = _Rows(undo)

    async def put(self, mount: Mount) -> None:
        self._rows.put(mount.id, mount)

    async def get(self, mount_id: MountId) -> Mount:
        return _required(self._rows.get(mount_id), missing.mount(mount_id))

    async def find_by_tree(self, tree_id: str) -> Mount | None:
        return self._newest(row for row in self._rows if row.tree.id == tree_id)

    async def find_by_name(self, name: str) -> Mount | None:
        return self._newest(row for row in self._rows if row.name == name)

    @staticmethod
    def _newest(rows: Iterator[Mount]) -> Mount | None:
        return max(rows, key=lambda row: (row.created_at, row.id), default=None)

    async def digests(self) -> AbstractSet[str]:
        return {file.digest for row in self._rows for file in row.tree.files}


class _Secrets:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[str, Secret] = _Rows(undo)

    async def put(self, secret: Secret) -> None:
        self._rows.put(secret.id, secret)

    async def get(self, secret_id: SecretId) -> Secret:
        return _required(self._rows.get(secret_id), missing.secret(secret_id))

    async def find(self, environment: str, name: str) -> Secret | None:
        return next((row for row in self._rows if (row.environment, row.name) == (environment, name)), None)

    async def list(self, environment: str) -> Sequence[Secret]:
        found = [row for row in self._rows if row.environment == environment and row.name]
        return sorted(found, key=lambda row: (row.created_at, row.id), reverse=True)

    async def delete(self, secret_id: SecretId) -> None:
        self._rows.drop(secret_id)


class _Volumes:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[str, Volume] = _Rows(undo)

    async def put(self, volume: Volume) -> None:
        self._rows.put(volume.id, volume)

    async def get(self, volume_id: VolumeId) -> Volume:
        return _required(self._rows.get(volume_id), missing.volume(volume_id))

    async def find(self, environment: str, name: str) -> Volume | None:
        return next((row for row in await self.list(environment) if row.name == name), None)

    async def list(self, environment: str) -> Sequence[Volume]:
        found = [row for row in self._rows if row.environment == environment and row.name]
        return sorted(found, key=lambda row: (row.created_at, row.id), reverse=True)

    async def ephemeral(self) -> Sequence[Volume]:
        return sorted((row for row in self._rows if not row.name), key=lambda row: row.id)

    async def delete(self, volume_id: VolumeId) -> None:
        self._rows.drop(volume_id)


class _ProxyTokens:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[str, ProxyToken] = _Rows(undo)

    async def put(self, token: ProxyToken) -> None:
        self._rows.put(token.id, token)

    async def get(self, token_id: ProxyTokenId) -> ProxyToken:
        return _required(self._rows.get(token_id), missing.proxy_token(token_id))

    async def list(self) -> Sequence[ProxyToken]:
        return sorted(self._rows, key=lambda row: (row.created_at, row.id), reverse=True)

    async def delete(self, token_id: ProxyTokenId) -> None:
        self._rows.drop(token_id)


class _Tokens:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[str, Token] = _Rows(undo)

    async def put(self, token: Token) -> None:
        self._rows.put(token.id, token)

    async def get(self, token_id: TokenId) -> Token:
        return _required(self._rows.get(token_id), missing.token(token_id))

    async def list(self) -> Sequence[Token]:
        return sorted(self._rows, key=lambda row: (row.created_at, row.id), reverse=True)

    async def delete(self, token_id: TokenId) -> None:
        self._rows.drop(token_id)


class _Schedules:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[str, Schedule] = _Rows(undo)

    async def put(self, schedule: Schedule) -> None:
        self._rows.put(schedule.function_id, schedule)

    async def find(self, function_id: FunctionId) -> Schedule | None:
        return self._rows.get(function_id)

    async def list(self) -> Sequence[Schedule]:
        return sorted(self._rows, key=lambda row: (row.app_id, row.function_id))

    async def of_app(self, app_id: AppId) -> Sequence[Schedule]:
        return [row for row in await self.list() if row.app_id == app_id]

    async def due(self, now: datetime) -> Sequence[Schedule]:
        waiting = [(row.next_at, row.function_id, row) for row in self._rows if row.next_at is not None]
        return [row for next_at, _, row in sorted(waiting) if next_at <= now]

    async def next_at(self) -> datetime | None:
        return min((row.next_at for row in self._rows if row.next_at is not None), default=None)

    async def advance(self, schedule: Schedule, due_at: datetime) -> bool:
        found = self._rows.get(schedule.function_id)
        if found is None or found.next_at != due_at:
            return False
        self._rows.put(schedule.function_id, schedule)
        return True

    async def delete(self, function_id: FunctionId) -> None:
        self._rows.drop(function_id)


class _Tasks:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[str, Task] = _Rows(undo)

    async def put(self, task: Task) -> None:
        self._rows.put(task.id, task)

    async def get(self, task_id: TaskId) -> Task:
        return _required(self._rows.get(task_id), missing.task(task_id))

    async def alive(self) -> Sequence[Task]:
        return sorted((row for row in self._rows if row.is_alive), key=lambda row: (row.enqueued_at, row.id))

    async def of_app(self, app_id: AppId, limit: int = 1000) -> Sequence[Task]:
        found = [row for row in self._rows if row.app_id == app_id]
        return sorted(found, key=lambda row: (row.enqueued_at, row.id), reverse=True)[:limit]

    async def page(
        self, before: Place | None, limit: int, *, app_id: AppId | None = None, function_ids: Collection[FunctionId] = ()
    ) -> Sequence[Task]:
        found = (row for row in self._rows if app_id in (None, row.app_id) and (not function_ids or row.function_id in function_ids))
        return _page(found, lambda row: (row.enqueued_at, row.id), before, limit)

    async def delete_ended_before(self, moment: datetime) -> int:
        old = [task.id for task in self._rows if task.ended_at is not None and task.ended_at < moment]
        for task_id in old:
            self._rows.drop(task_id)
        return len(old)


class _Blobs:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[str, tuple[str, int, datetime]] = _Rows(undo)
        self._aliases: _Rows[str, tuple[str, str]] = _Rows(undo)

    async def put(self, blob_id: str, size: int, used_at: datetime) -> None:
        self._rows.put(blob_id, (blob_id, size, used_at))

    async def touch(self, blob_ids: Sequence[str], used_at: datetime) -> None:
        for blob_id in blob_ids:
            if (found := self._rows.get(blob_id)) is not None:
                self._rows.put(blob_id, (blob_id, found[1], used_at))

    async def total_bytes(self) -> int:
        return sum(size for _, size, _ in self._rows)

    async def least_recently_used(self, limit: int) -> Sequence[tuple[str, int, datetime]]:
        return sorted(self._rows, key=lambda row: (row[2], row[0]))[:limit]

    async def delete(self, blob_ids: Sequence[str]) -> None:
        for blob_id in blob_ids:
            self._rows.drop(blob_id)
        for alias, blob_id in list(self._aliases):
            if blob_id in blob_ids:
                self._aliases.drop(alias)

    async def put_alias(self, alias: str, blob_id: str) -> None:
        self._aliases.put(alias, (alias, blob_id))

    async def find_alias(self, alias: str) -> str | None:
        found = self._aliases.get(alias)
        return found[1] if found else None


class _Events:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[int, Event] = _Rows(undo)
        self._numbers = itertools.count()

    async def add(self, events: Sequence[Event]) -> None:
        for event in events:
            self._rows.put(next(self._numbers), event)

    async def of(self, subject: str, limit: int = 1000) -> Sequence[Event]:
        return [row for row in self._rows if row.subject == subject][:limit]

    async def latest(self, subject: str, limit: int) -> Sequence[Event]:
        return [row for row in self._rows if row.subject == subject][-limit:]

    async def delete_before(self, moment: datetime, most: int) -> int:
        first = sorted(self._rows.items(), key=lambda row: row[0])[:most]
        old = [number for number, event in first if event.at < moment]
        for number in old:
            self._rows.drop(number)
        return len(old)


class _Usages:
    def __init__(self, undo: _Undo) -> None:
        self._hours: _Rows[tuple[datetime, FunctionId], FunctionUsage] = _Rows(undo)
        self._totals: _Rows[str, Total] = _Rows(undo)

    async def add(self, hourly: Sequence[FunctionUsage], totals: Mapping[str, Usage], at: datetime) -> None:
        for row in hourly:
            found = self._hours.get((row.begins_at, row.function_id))
            self._hours.put((row.begins_at, row.function_id), replace(row, usage=found.usage + row.usage) if found else row)
        for subject, usage in totals.items():
            known = self._totals.get(subject)
            self._totals.put(subject, Total(usage=(known.usage if known else NOTHING) + usage, at=at))

    async def sums(
        self,
        since: datetime,
        until: datetime,
        *,
        step: timedelta | None = None,
        app_id: str = "",
        function_ids: Sequence[FunctionId] | None = None,
    ) -> Sequence[FunctionUsage]:
        found: dict[tuple[datetime, AppId, FunctionId], Usage] = defaultdict(lambda: NOTHING)
        for row in self._hours:
            is_meant = app_id in ("", row.app_id) and (function_ids is None or row.function_id in function_ids)
            if is_meant and since <= row.begins_at < until:
                begins_at = row.begins_at - (row.begins_at - _EPOCH) % step if step else since
                found[begins_at, row.app_id, row.function_id] += row.usage
        return [FunctionUsage(begins_at=at, app_id=app, function_id=id_, usage=usage) for (at, app, id_), usage in sorted(found.items())]

    async def totals(self, subjects: Sequence[str]) -> Mapping[str, Total]:
        return {subject: found for subject in subjects if (found := self._totals.get(subject)) is not None}

    async def delete_before(self, *, hours: datetime, totals: datetime) -> None:
        for row in list(self._hours):
            if row.begins_at < hours:
                self._hours.drop((row.begins_at, row.function_id))
        for subject, total in self._totals.items():
            if total.at < totals:
                self._totals.drop(subject)


class _Metrics:
    def __init__(self, undo: _Undo) -> None:
        self._rows: _Rows[tuple[int, FunctionId, datetime], Bucket] = _Rows(undo)

    async def put(self, buckets: Sequence[Bucket]) -> None:
        for bucket in buckets:
            self._rows.put((bucket.width, bucket.function_id, bucket.start), bucket)

    async def between(
        self, width: int, since: datetime, until: datetime, function_ids: Collection[FunctionId] | None = None
    ) -> Sequence[Bucket]:
        found = [row for row in self._rows if row.width == width and since <= row.start < until]
        wanted = [row for row in found if function_ids is None or row.function_id in function_ids]
        return sorted(wanted, key=lambda row: (row.start, row.function_id))

    async def delete_before(self, width: int, moment: datetime) -> int:
        old = [key for key, row in self._rows.items() if row.width == width and row.start < moment]
        for key in old:
            self._rows.drop(key)
        return len(old)


class MemoryTransaction:
    """All aggregates over one list of what to take back if the block fails."""

    def __init__(self, undo: _Undo) -> None:
        self.environments: ports.Environments = _Environments(undo)
        self.apps: ports.Apps = _Apps(undo)
        self.functions: ports.Functions = _Functions(undo)
        self.overrides: ports.Overrides = _Overrides(undo)
        self.calls: ports.Calls = _Calls(undo)
        self.images: ports.Images = _Images(undo)
        self.mounts: ports.Mounts = _Mounts(undo)
        self.secrets: ports.Secrets = _Secrets(undo)
        self.volumes: ports.Volumes = _Volumes(undo)
        self.proxy_tokens: ports.ProxyTokens = _ProxyTokens(undo)
        self.tokens: ports.Tokens = _Tokens(undo)
        self.schedules: ports.Schedules = _Schedules(undo)
        self.tasks: ports.Tasks = _Tasks(undo)
        self.blobs: ports.Blobs = _Blobs(undo)
        self.events: ports.Events = _Events(undo)
        self.usages: ports.Usages = _Usages(undo)
        self.metrics: ports.Metrics = _Metrics(undo)


class MemoryStore:
    def __init__(self) -> None:
        self._undo: _Undo = []
        self._everything = MemoryTransaction(self._undo)
        self._one_at_a_time = anyio.Lock()

    async def open(self) -> None:
        """Nothing to prepare."""

    async def close(self) -> None:
        async with self._one_at_a_time:
            pass

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        await self._acquire()
        try:
            yield self._everything
        except BaseException:
            for take_back in reversed(self._undo):
                take_back()
            raise
        finally:
            self._undo.clear()
            self._one_at_a_time.release()

    async def _acquire(self) -> None:
        try:
            with anyio.fail_after(_LONGEST_WAIT):
                await self._one_at_a_time.acquire()
        except TimeoutError as error:
            msg = f"The store was busy for {_LONGEST_WAIT:.0f} seconds. Try again."
            raise Unavailable(msg) from error
