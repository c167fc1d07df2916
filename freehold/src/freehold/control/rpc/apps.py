"""Apps: creation, publication, life signs, listing."""

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc import mapping
from freehold.control.services.apps import Apps, Publication
from freehold.control.services.deployments import Deployments
from freehold.control.services.launches import Launches
from freehold.control.services.scaling import Scaling
from freehold.control.services.tasks import Tasks
from freehold.domain.apps import App, AppState, DeploymentKind
from freehold.domain.environments import DEFAULT_ENVIRONMENT
from freehold.domain.ids import AppId, FunctionId

_CREATABLE = api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING
_PREVIOUS = -1  # `modal app rollback` without a version


class AppRpcs:
    def __init__(
        self, *, apps: Apps, deployments: Deployments, launches: Launches, tasks: Tasks, scaling: Scaling, gateway_url: str
    ) -> None:
        self._apps = apps
        self._deployments = deployments
        self._launches = launches
        self._tasks = tasks
        self._scaling = scaling
        self._gateway_url = gateway_url

    async def AppCreate(self, request: api_pb2.AppCreateRequest, caller: Caller) -> api_pb2.AppCreateResponse:
        app = await self._apps.create(
            environment=request.environment_name,
            description=request.description,
            state=mapping.app_state(request.app_state) or AppState.INITIALIZING,
            client_version=caller.client_version,
            tags=request.tags,
        )
        return api_pb2.AppCreateResponse(app_id=app.id, app_page_url=self._page(app.id), app_logs_url=self._page(app.id))

    async def AppGetOrCreate(self, request: api_pb2.AppGetOrCreateRequest, caller: Caller) -> api_pb2.AppGetOrCreateResponse:
        app = await self._apps.get_or_create(
            request.environment_name,
            request.app_name,
            create=request.object_creation_type == _CREATABLE,
            client_version=caller.client_version,
        )
        return api_pb2.AppGetOrCreateResponse(app_id=app.id, handle_metadata=mapping.app_handle(app))

    async def AppGetByDeploymentName(
        self, request: api_pb2.AppGetByDeploymentNameRequest, _caller: Caller
    ) -> api_pb2.AppGetByDeploymentNameResponse:
        app = await self._apps.find_deployed(request.environment_name, request.name)
        previous = None if app else await self._apps.find_stopped(request.environment_name, request.name)
        found = app or previous
        return api_pb2.AppGetByDeploymentNameResponse(
            app_id=app.id if app else "",
            previous_app_id=previous.id if previous else "",
            environment_name=found.environment if found else request.environment_name or DEFAULT_ENVIRONMENT,
            lifecycle=await self._lifecycle(found) if found else None,
        )

    async def AppLookup(self, request: api_pb2.AppLookupRequest, _caller: Caller) -> api_pb2.AppLookupResponse:
        app = await self._apps.get_deployed(request.environment_name, request.app_name)
        return api_pb2.AppLookupResponse(app_id=app.id)

    async def AppGetLayout(self, request: api_pb2.AppGetLayoutRequest, _caller: Caller) -> api_pb2.AppGetLayoutResponse:
        app = await self._apps.get(AppId(request.app_id))
        return api_pb2.AppGetLayoutResponse(app_layout=await self._launches.layout(app))

    async def AppGetObjects(self, request: api_pb2.AppGetObjectsRequest, caller: Caller) -> api_pb2.AppGetObjectsResponse:
        """Clients before 0.72 ask so: at a deploy for what there is already, in a container also for what its function needs."""
        task = self._tasks.find(caller.task_id) if caller.task_id else None
        app = await self._apps.get(AppId(request.app_id))
        return api_pb2.AppGetObjectsResponse(items=await self._launches.objects(app, task.task.function_id if task else None))

    async def AppGetLifecycle(self, request: api_pb2.AppGetLifecycleRequest, _caller: Caller) -> api_pb2.AppGetLifecycleResponse:
        app = await self._apps.get(AppId(request.app_id))
        return api_pb2.AppGetLifecycleResponse(lifecycle=await self._lifecycle(app))

    async def AppPublish(self, request: api_pb2.AppPublishRequest, caller: Caller) -> api_pb2.AppPublishResponse:
        publication = Publication(
            state=mapping.app_state(request.app_state),
            layout=mapping.layout_of(request),
            name=request.name,
            tag=request.deployment_tag,
            client_version=caller.client_version,
            commit_info=request.commit_info.SerializeToString(),
            tags=dict(request.tags),
            kind=DeploymentKind.STAGED if request.staged else DeploymentKind.STANDARD,
            actor=caller.actor,
        )
        app, deployment = await self._deployments.publish(AppId(request.app_id), publication)
        functions = publication.layout.function_ids.values()
        return api_pb2.AppPublishResponse(
            url=self._page(app.id),
            deployed_at=deployment.deployed_at.timestamp(),
            server_warnings=mapping.warnings(
                [
                    *caller.cautions,
                    *await self._apps.cautions(app.id),
                    *await self._scaling.cautions(map(FunctionId, functions)),
                ]
            ),
        )

    async def AppRollback(self, request: api_pb2.AppRollbackRequest, caller: Caller) -> api_pb2.AppRollbackResponse:
        version = None if request.version == _PREVIOUS else request.version
        app, deployment = await self._deployments.roll_back(AppId(request.app_id), version, actor=caller.actor)
        return api_pb2.AppRollbackResponse(url=self._page(app.id), deployed_at=deployment.deployed_at.timestamp())

    async def AppRollover(self, request: api_pb2.AppRolloverRequest, caller: Caller) -> api_pb2.AppRolloverResponse:
        app, deployment = await self._deployments.roll_over(AppId(request.app_id), actor=caller.actor)
        return api_pb2.AppRolloverResponse(url=self._page(app.id), deployed_at=deployment.deployed_at.timestamp())

    async def AppPromote(self, request: api_pb2.AppPromoteRequest, caller: Caller) -> api_pb2.AppPromoteResponse:
        app, deployment = await self._deployments.promote(AppId(request.app_id), request.version, actor=caller.actor)
        return api_pb2.AppPromoteResponse(url=self._page(app.id), deployed_at=deployment.deployed_at.timestamp())

    async def AppHeartbeat(self, request: api_pb2.AppHeartbeatRequest, _caller: Caller) -> Empty:
        await self._apps.get_live(AppId(request.app_id))
        self._apps.heartbeat(AppId(request.app_id))
        return Empty()

    async def AppClientDisconnect(self, request: api_pb2.AppClientDisconnectRequest, _caller: Caller) -> Empty:
        await self._apps.disconnect(AppId(request.app_id), mapping.enum_name(api_pb2.AppDisconnectReason, request.reason))
        return Empty()

    async def AppStop(self, request: api_pb2.AppStopRequest, caller: Caller) -> Empty:
        await self._apps.stop(AppId(request.app_id), caller.actor)
        return Empty()

    async def AppList(self, request: api_pb2.AppListRequest, _caller: Caller) -> api_pb2.AppListResponse:
        running = mapping.count_by_app(self._tasks.all())
        apps = await self._apps.list(request.environment_name)
        return api_pb2.AppListResponse(apps=[mapping.app_list_item(app, running.get(app.id, 0)) for app in apps])

    async def AppDeploymentHistory(
        self, request: api_pb2.AppDeploymentHistoryRequest, _caller: Caller
    ) -> api_pb2.AppDeploymentHistoryResponse:
        app = await self._apps.get(AppId(request.app_id))
        history = await self._apps.history(app.id)
        return api_pb2.AppDeploymentHistoryResponse(
            app_deployment_histories=[mapping.deployment(item, app.version) for item in history], production_app_version=app.version
        )

    async def AppGetInfo(self, request: api_pb2.AppGetInfoRequest, _caller: Caller) -> api_pb2.AppGetInfoResponse:
        app = await self._apps.get(AppId(request.app_id))
        layout = await self._apps.layout(app.id)
        info = mapping.app_handle(app, layout.function_ids)
        info.lifecycle.CopyFrom(await self._lifecycle(app))
        return api_pb2.AppGetInfoResponse(info=info, function_info_summaries=await self._apps.summaries(app))

    async def AppSetTags(self, request: api_pb2.AppSetTagsRequest, _caller: Caller) -> Empty:
        await self._apps.set_tags(AppId(request.app_id), dict(request.tags))
        return Empty()

    async def AppGetTags(self, request: api_pb2.AppGetTagsRequest, _caller: Caller) -> api_pb2.AppGetTagsResponse:
        return api_pb2.AppGetTagsResponse(tags=(await self._apps.get(AppId(request.app_id))).tags)

    async def _lifecycle(self, app: App) -> api_pb2.AppLifecycle:
        return mapping.lifecycle(app, await self._apps.live_deployment(app.id))

    def _page(self, app_id: str) -> str:
        return f"{self._gateway_url}/id/{app_id}"
