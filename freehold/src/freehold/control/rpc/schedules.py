"""What `freehold schedules` asks: the list, a run by hand, pause and resume."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from modal_proto import api_pb2

from freehold.control.services.live import LiveCall
from freehold.control.services.schedules import NamedSchedule, Schedules
from freehold.domain.schedules import Cron, Schedule

_RESULT = api_pb2.GenericResult
_STATES = {
    _RESULT.GENERIC_STATUS_SUCCESS: "success",
    _RESULT.GENERIC_STATUS_TIMEOUT: "timeout",
    _RESULT.GENERIC_STATUS_TERMINATED: "cancelled",
}


class ScheduleOperations:
    def __init__(self, schedules: Schedules) -> None:
        self._schedules = schedules

    def table(self) -> dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]]:
        return {"ScheduleList": self.list, "ScheduleRun": self.run, "SchedulePause": self.pause, "ScheduleResume": self.resume}

    async def list(self, request: dict[str, Any]) -> dict[str, Any]:
        environment = str(request.get("environment", ""))
        found = [item for item in await self._schedules.list() if environment in ("", item.app.environment)]
        return {"schedules": [_row(item) for item in found]}

    async def run(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"call_id": await self._schedules.run(*_which(request))}

    async def pause(self, request: dict[str, Any]) -> dict[str, Any]:
        return _next(await self._schedules.pause(*_which(request)))

    async def resume(self, request: dict[str, Any]) -> dict[str, Any]:
        return _next(await self._schedules.resume(*_which(request)))


def _which(request: dict[str, Any]) -> tuple[str, str]:
    return str(request.get("name", "")), str(request.get("environment", ""))


def _next(schedule: Schedule) -> dict[str, Any]:
    return {"is_paused": schedule.is_paused, "next_at": _moment(schedule.next_at)}


def _row(item: NamedSchedule) -> dict[str, Any]:
    rule = item.schedule.rule
    return {
        "name": item.name,
        "app": item.app.name,
        "app_id": item.app.id,
        "environment": item.app.environment,
        "function": item.tag,
        "function_id": item.schedule.function_id,
        "rule": str(rule),
        "timezone": (rule.timezone if isinstance(rule, Cron) else "") or "UTC",
        **_next(item.schedule),
        "last_at": _moment(item.schedule.last_at),
        "last_call_id": item.schedule.last_call_id,
        "last_state": _state(item.last_call) if item.schedule.last_call_id else None,
        "missed": item.schedule.missed,
    }


def _state(call: LiveCall | None) -> str:
    """Of a run: queued or running, or how it ended; `forgotten` once results of its age are deleted."""
    if call is None:
        return "forgotten"
    if (output := call.latest.get(0)) is not None and not call.unfinished:
        return _STATES.get(output.result.status, "failure")
    return "running" if any(live.is_running for live in call.inputs.values()) else "queued"


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
