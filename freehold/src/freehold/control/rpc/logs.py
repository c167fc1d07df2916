"""Logs of apps: followed live, or fetched by time and filter."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from itertools import groupby

from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc.mapping import entry_number
from freehold.control.services.apps import Apps
from freehold.control.services.logs import LogFilter, Logs
from freehold.control.services.task_history import TaskHistory
from freehold.domain.ids import AppId, TaskId
from freehold.domain.logs import LogSource
from freehold.store.logs import Numbered

_DEFAULT_LIMIT = 20_000


class LogRpcs:
    def __init__(self, *, logs: Logs, apps: Apps, history: TaskHistory) -> None:
        self._logs = logs
        self._apps = apps
        self._history = history

    async def AppGetLogs(self, request: api_pb2.AppGetLogsRequest, _caller: Caller) -> AsyncIterator[api_pb2.TaskLogsBatch]:
        """As it comes; `app_done` once nothing more will."""
        app_id = AppId(request.app_id) if request.app_id else (await self._history.get(TaskId(request.task_id))).app_id
        if await self._apps.is_over(app_id):
            self._logs.mark_done(app_id)
        wanted = LogFilter(
            source=request.file_descriptor,
            task_id=request.task_id,
            function_id=request.function_id or request.parametrized_function_id,
            call_id=request.function_call_id,
            search=request.search_text,
        )
        async for page in self._logs.follow(app_id, entry_number(request.last_entry_id), request.timeout):
            for batch in _batches(item for item in page if wanted.matches(item.entry)):
                yield batch
        if self._logs.is_done(app_id):
            yield api_pb2.TaskLogsBatch(app_done=True)

    async def AppFetchLogs(self, request: api_pb2.AppFetchLogsRequest, _caller: Caller) -> api_pb2.AppFetchLogsResponse:
        app = await self._apps.get(AppId(request.app_id))
        found = await self._logs.fetch(app.id, _filter(request), request.limit or _DEFAULT_LIMIT)
        return api_pb2.AppFetchLogsResponse(batches=list(_batches(found)))

    async def AppCountLogs(self, request: api_pb2.AppCountLogsRequest, _caller: Caller) -> api_pb2.AppCountLogsResponse:
        app = await self._apps.get(AppId(request.app_id))
        found = await self._logs.fetch(app.id, _filter(request), 0)
        return api_pb2.AppCountLogsResponse(app_id=app.id, buckets=_buckets(found, request.bucket_secs or 60))


def _filter(request: api_pb2.AppFetchLogsRequest | api_pb2.AppCountLogsRequest) -> LogFilter:
    return LogFilter(
        since=_seconds(request.since),
        until=_seconds(request.until) if request.HasField("until") else float("inf"),
        source=request.source,
        task_id=request.task_id,
        function_id=request.function_id or request.parametrized_function_id,
        call_id=request.function_call_id,
        search=request.search_text,
    )


def _seconds(moment: Timestamp) -> float:
    return moment.seconds + moment.nanos / 1e9


def _batches(items: Iterable[Numbered]) -> Iterable[api_pb2.TaskLogsBatch]:
    """Neighbours of one task travel together."""
    for (task_id, function_id), group in groupby(items, key=lambda item: (item.entry.task_id, item.entry.function_id)):
        entries = list(group)
        yield api_pb2.TaskLogsBatch(
            task_id=task_id,
            function_id=function_id,
            root_function_id=function_id,
            entry_id=str(entries[-1].number),
            items=[_line(item) for item in entries],
        )


def _line(item: Numbered) -> api_pb2.TaskLogs:
    entry = item.entry
    return api_pb2.TaskLogs(
        data=entry.text,
        timestamp=entry.at,
        timestamp_ns=int(entry.at * 1e9),
        file_descriptor=int(entry.source),  # type: ignore[arg-type]
        function_call_id=entry.call_id,
        input_id=entry.input_id,
        container_id=entry.task_id,
    )


def _buckets(items: Iterable[Numbered], width: int) -> list[api_pb2.AppCountLogsResponse.LogBucket]:
    counts = Counter((int(item.entry.at // width) * width, item.entry.source) for item in items)
    starts = sorted({start for start, _ in counts})
    return [
        api_pb2.AppCountLogsResponse.LogBucket(
            bucket_start_at=Timestamp(seconds=start),
            stdout_logs=counts[start, LogSource.STDOUT],
            stderr_logs=counts[start, LogSource.STDERR],
            system_logs=counts[start, LogSource.SYSTEM],
        )
        for start in starts
    ]
