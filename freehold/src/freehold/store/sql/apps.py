"""Apps and their deployments in SQL."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select

from freehold.domain.apps import App, AppState, Deployment, DeploymentKind, Layout
from freehold.domain.ids import AppId
from freehold.store import missing
from freehold.store.ports import Place
from freehold.store.sql import statements
from freehold.store.sql.connection import Connection
from freehold.store.sql.tables import apps, deployments

_NEWEST_FIRST = (apps.c.created_at.desc(), apps.c.id.desc())


class SqlApps:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, app: App) -> None:
        await statements.put(self._connection, apps, _app_row(app))

    async def get(self, app_id: AppId) -> App:
        row = await statements.required(self._connection, select(apps).where(apps.c.id == app_id), missing.app(app_id))
        return _app(row)

    async def find_deployed(self, environment: str, name: str) -> App | None:
        deployed = (apps.c.environment == environment) & (apps.c.name == name) & (apps.c.state == AppState.DEPLOYED.value)
        row = await statements.one(self._connection, select(apps).where(deployed).order_by(*_NEWEST_FIRST))
        return _app(row) if row else None

    async def list(self, environment: str) -> Sequence[App]:
        query = select(apps).where(apps.c.environment == environment).order_by(*_NEWEST_FIRST)
        return [_app(row) for row in await self._connection.execute(query)]

    async def list_live(self) -> Sequence[App]:
        query = select(apps).where(apps.c.state != AppState.STOPPED.value).order_by(*_NEWEST_FIRST)
        return [_app(row) for row in await self._connection.execute(query)]

    async def stopped(self, before: Place | None, limit: int) -> Sequence[App]:
        query = select(apps).where(apps.c.state == AppState.STOPPED.value)
        page = statements.page(query, apps.c.created_at, apps.c.id, before, limit)
        return [_app(row) for row in await self._connection.execute(page)]

    async def put_deployment(self, deployment: Deployment) -> None:
        await statements.put(self._connection, deployments, _deployment_row(deployment))

    async def deployments(self, app_id: AppId) -> Sequence[Deployment]:
        query = select(deployments).where(deployments.c.app_id == app_id).order_by(deployments.c.version.desc())
        return [_deployment(row) for row in await self._connection.execute(query)]

    async def find_deployment(self, app_id: AppId, version: int) -> Deployment | None:
        query = select(deployments).where(deployments.c.app_id == app_id, deployments.c.version == version)
        row = await statements.one(self._connection, query)
        return _deployment(row) if row else None

    async def find_stopped(self, environment: str, name: str) -> App | None:
        stopped = (apps.c.environment == environment) & (apps.c.name == name) & (apps.c.state == AppState.STOPPED.value)
        row = await statements.one(self._connection, select(apps).where(stopped).order_by(apps.c.stopped_at.desc(), apps.c.id.desc()))
        return _app(row) if row else None


def _app_row(app: App) -> dict[str, Any]:
    return {
        "id": app.id,
        "environment": app.environment,
        "description": app.description,
        "state": app.state.value,
        "created_at": app.created_at,
        "name": app.name,
        "version": app.version,
        "stopped_at": app.stopped_at,
        "tags": dict(app.tags),
        "client_version": app.client_version,
    }


def _app(row: Row[Any]) -> App:
    return App(
        id=row.id,
        environment=row.environment,
        description=row.description,
        state=AppState(row.state),
        created_at=row.created_at,
        name=row.name,
        version=row.version,
        stopped_at=row.stopped_at,
        tags=row.tags,
        client_version=row.client_version,
    )


def _deployment_row(deployment: Deployment) -> dict[str, Any]:
    layout = deployment.layout
    return {
        "app_id": deployment.app_id,
        "version": deployment.version,
        "deployed_at": deployment.deployed_at,
        "client_version": deployment.client_version,
        "layout": {
            "function_ids": dict(layout.function_ids),
            "class_ids": dict(layout.class_ids),
            "definition_ids": dict(layout.definition_ids),
        },
        "tag": deployment.tag,
        "rollback_of": deployment.rollback_of,
        "commit_info": deployment.commit_info,
        "kind": deployment.kind.value,
    }


def _deployment(row: Row[Any]) -> Deployment:
    return Deployment(
        app_id=row.app_id,
        version=row.version,
        deployed_at=row.deployed_at,
        client_version=row.client_version,
        layout=Layout(**row.layout),
        tag=row.tag,
        rollback_of=row.rollback_of,
        commit_info=row.commit_info,
        kind=DeploymentKind(row.kind),
    )
