"""Logs of apps: followed live, or fetched by time and filter."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from itertools import groupby

from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc.mapping import entry_number
from freehold.control.services.apps import Apps
from freehold.control.services.functions import Functions
from freehold.control.services.logs import Logs
from freehold.control.services.task_history import TaskHistory
from freehold.domain.apps import AppState
from freehold.domain.ids import AppId, FunctionId, TaskId
from freehold.domain.logs import LogFilter, LogSource, pieces
from freehold.store.logs import Numbered

# The client asks for this many when it has counted before and wants everything; for fewer when it wants the last lines.
_EVERYTHING = 20_000
_SHOWN_FIRST = 100  # lines that are there already, when someone begins to follow what may be long; as many as `modal app logs` shows

_Request = api_pb2.AppGetLogsRequest | api_pb2.AppFetchLogsRequest | api_pb2.AppCountLogsRequest


class LogRpcs:
    def __init__(self, *, logs: Logs, apps: Apps, functions: Functions, history: TaskHistory) -> None:
        self._logs = logs
        self._apps = apps
        self._functions = functions
        self._history = history

    async def AppGetLogs(self, request: api_pb2.AppGetLogsRequest, _caller: Caller) -> AsyncIterator[api_pb2.TaskLogsBatch]:
        """As it comes; `app_done` once nothing more will, of the app or of the one task that was asked for."""
        app_id = AppId(request.app_id) if request.app_id else (await self._history.get(TaskId(request.task_id))).app_id
        if await self._apps.is_over(app_id):
            self._logs.mark_done(app_id)
        wanted = replace(await self._filter(app_id, request), source=request.file_descriptor)
        after = entry_number(request.last_entry_id) or await self._beginning(app_id, wanted)
        async for page in self._logs.follow(app_id, after, request.timeout, request.task_id):
            for batch in _batches(_wanted(page, wanted)):
                yield batch
        if self._logs.is_done(app_id, request.task_id):
            yield api_pb2.TaskLogsBatch(app_done=True)

    async def AppFetchLogs(self, request: api_pb2.AppFetchLogsRequest, _caller: Caller) -> api_pb2.AppFetchLogsResponse:
        app = await self._apps.get(AppId(request.app_id))
        wanted = _in_time(await self._filter(app.id, request), request)
        if 0 < request.limit < _EVERYTHING:
            found = await self._logs.newest(app.id, wanted, request.limit)
        else:
            found = await self._logs.all(app.id, wanted, request.limit or _EVERYTHING)
        return api_pb2.AppFetchLogsResponse(batches=list(_batches(found)))

    async def AppCountLogs(self, request: api_pb2.AppCountLogsRequest, _caller: Caller) -> api_pb2.AppCountLogsResponse:
        app = await self._apps.get(AppId(request.app_id))
        wanted = _in_time(await self._filter(app.id, request), request)
        counts = await self._logs.count(app.id, wanted, request.bucket_secs or 60)
        return api_pb2.AppCountLogsResponse(app_id=app.id, buckets=_buckets(counts))

    async def _beginning(self, app_id: AppId, wanted: LogFilter) -> int:
        """Where to begin for someone who has seen nothing: a run, a task or a call from its start, a deployed app near its end."""
        if wanted.task_id or wanted.call_id or (await self._apps.get(app_id)).state is not AppState.DEPLOYED:
            return 0
        return await self._logs.place_of_newest(app_id, wanted, _SHOWN_FIRST)

    async def _filter(self, app_id: AppId, request: _Request) -> LogFilter:
        function_ids = {request.parametrized_function_id} - {""}
        if request.function_id and not function_ids:
            function_ids = {*await self._functions.variants_of(app_id, FunctionId(request.function_id))}
        return LogFilter(task_id=request.task_id, function_ids=function_ids, call_id=request.function_call_id, search=request.search_text)


def _in_time(wanted: LogFilter, request: api_pb2.AppFetchLogsRequest | api_pb2.AppCountLogsRequest) -> LogFilter:
    until = _seconds(request.until) if request.HasField("until") else float("inf")
    return replace(wanted, since=_seconds(request.since), until=until, source=request.source)


def _seconds(moment: Timestamp) -> float:
    return moment.seconds + moment.nanos / 1e9


def _wanted(page: Iterable[Numbered], wanted: LogFilter) -> Iterable[Numbered]:
    return (Numbered(item.number, entry) for item in page if (entry := wanted.of(item.entry)) is not None)


def _batches(items: Iterable[Numbered]) -> Iterable[api_pb2.TaskLogsBatch]:
    """Neighbours of one task travel together."""
    for (task_id, function_id), group in groupby(items, key=lambda item: (item.entry.task_id, item.entry.function_id)):
        entries = list(group)
        yield api_pb2.TaskLogsBatch(
            task_id=task_id,
            function_id=function_id,
            root_function_id=function_id,
            entry_id=str(entries[-1].number),
            items=[line for item in entries for line in _lines(item)],
        )


def _lines(item: Numbered) -> Iterable[api_pb2.TaskLogs]:
    for entry in pieces(item.entry):
        yield api_pb2.TaskLogs(
            data=entry.text,
            timestamp=entry.at,
            timestamp_ns=int(entry.at * 1e9),
            file_descriptor=int(entry.source),  # type: ignore[arg-type]
            function_call_id=entry.call_id,
            input_id=entry.input_id,
            container_id=entry.task_id,
        )


def _buckets(counts: Mapping[tuple[int, LogSource], int]) -> list[api_pb2.AppCountLogsResponse.LogBucket]:
    return [
        api_pb2.AppCountLogsResponse.LogBucket(
            bucket_start_at=Timestamp(seconds=start),
            stdout_logs=counts.get((start, LogSource.STDOUT), 0),
            stderr_logs=counts.get((start, LogSource.STDERR), 0),
            system_logs=counts.get((start, LogSource.SYSTEM), 0),
        )
        for start in sorted({start for start, _ in counts})
    ]
