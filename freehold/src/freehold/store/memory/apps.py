"""Apps in memory."""

from collections.abc import Sequence

from freehold.domain.apps import App, AppState, Deployment
from freehold.domain.ids import AppId
from freehold.store import missing
from freehold.store.memory.rows import Rows, Undo, page, required
from freehold.store.ports import Place


class Apps:
    def __init__(self, undo: Undo) -> None:
        self._rows: Rows[str, App] = Rows(undo)
        self._deployments: Rows[tuple[str, int], Deployment] = Rows(undo)

    async def put(self, app: App) -> None:
        self._rows.put(app.id, app)

    async def get(self, app_id: AppId) -> App:
        return required(self._rows.get(app_id), missing.app(app_id))

    async def find_deployed(self, environment: str, name: str) -> App | None:
        apps = await self.list(environment)
        return next((app for app in apps if app.name == name and app.state is AppState.DEPLOYED), None)

    async def list(self, environment: str) -> Sequence[App]:
        found = [app for app in self._rows if app.environment == environment]
        return sorted(found, key=lambda app: (app.created_at, app.id), reverse=True)

    async def list_live(self) -> Sequence[App]:
        return sorted((app for app in self._rows if app.is_live), key=lambda app: (app.created_at, app.id), reverse=True)

    async def stopped(self, before: Place | None, limit: int) -> Sequence[App]:
        return page((app for app in self._rows if not app.is_live), lambda app: (app.created_at, app.id), before, limit)

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
