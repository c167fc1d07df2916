"""Tells the worker what was deployed, so that the first calls find it prepared."""

from freehold.control.controllers.loop import for_each
from freehold.control.services.apps import Apps
from freehold.control.services.launches import Launches
from freehold.domain.ids import AppId, FunctionId
from freehold.wire.worker import WorkerControl

_MOST = 50  # functions of one app


class Foresight:
    def __init__(self, *, apps: Apps, launches: Launches, worker: WorkerControl) -> None:
        self._apps = apps
        self._launches = launches
        self._worker = worker

    async def step(self) -> None:
        await for_each("foresight", self._apps.take_published(), self._expect)

    async def _expect(self, app_id: AppId) -> None:
        layout = await self._apps.layout(app_id)
        for function_id in list(layout.function_ids.values())[:_MOST]:
            if (task := await self._launches.expected(FunctionId(function_id))) is not None:
                self._worker.expect(task)
