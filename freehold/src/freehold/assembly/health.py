"""How the engine itself is, for `/healthz`, `/metrics`, `freehold status` and `freehold top`."""

import os
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import psutil

from freehold.assembly.control import ControlPlane
from freehold.domain.seams import Transport
from freehold.domain.tasks import TaskState
from freehold.gateway.exposition import EngineFigures
from freehold.gateway.exposition import Functions as FunctionFigures


class Health:
    def __init__(self, control: ControlPlane, zygotes: Callable[[], str]) -> None:
        self._control = control
        self._zygotes = zygotes
        self._started_at = time.monotonic()

    def status(self) -> dict[str, Any]:
        """What `/healthz` answers and `freehold status` shows."""
        settings, work, exports = self._control.settings, self._control.work, self._control.insight.trace_exports
        tasks = list(work.tasks.all())
        return {
            "status": "ok",
            "version": version("freehold"),
            "modal": version("modal"),
            "pid": os.getpid(),
            "home": str(settings.root),
            "uptime_s": round(self._uptime(), 1),
            "tasks": len(tasks),
            "tasks_with_own_transport": sum(live.transport is Transport.OWN for live in tasks),
            "tasks_serving_http": sum(live.serves_http for live in tasks),
            "tasks_with_web_fallback": sum(bool(live.web_fallback) for live in tasks),
            "gpus": work.machines.gpus_in_words(),
            "zygotes": self._zygotes(),
            "traces": exports.summary() if exports else "not sent",
            "apps": len({live.task.app_id for live in tasks}),
            "control_url": settings.control_url,
            "gateway_url": settings.gateway_url,
        }

    async def measurements(self) -> tuple[FunctionFigures, EngineFigures]:
        """What `/metrics` shows."""
        return await self._control.work.metrics.exposition(), self._engine()

    async def top(self, request: dict[str, Any]) -> dict[str, Any]:
        """What `freehold top` shows: the functions, and the engine above them."""
        engine = self._engine()
        now = {
            "uptime_s": self._uptime(),
            "cpu_seconds": engine.cpu_seconds,
            "resident_bytes": engine.resident_bytes,
            "containers": dict(engine.containers),
            "loop_lag_s": engine.loop_lag,
            "commit_s": engine.commits.percentile(99),
        }
        return {"engine": now, **await self._control.insight.statistics.top(request)}

    def _engine(self) -> EngineFigures:
        process, base = psutil.Process(), self._control.base
        times = process.cpu_times()
        states = Counter(live.state.value for live in self._control.work.tasks.all())
        return EngineFigures(
            version=version("freehold"),
            modal=version("modal"),
            started_at=process.create_time(),
            cpu_seconds=times.user + times.system,
            resident_bytes=process.memory_info().rss,
            containers={state.value: states[state.value] for state in TaskState if state is not TaskState.ENDED},
            loop_lag=base.loop_lag.worst,
            commits=base.store.commits.histogram(),
        )

    def _uptime(self) -> float:
        return time.monotonic() - self._started_at
