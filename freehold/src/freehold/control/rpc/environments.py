"""Environments."""

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.services.environments import Environments
from freehold.domain.creation import Creation
from freehold.domain.environments import Environment
from freehold.domain.errors import NotSupported

_ONE_PERSON = ("is_managed", "environment_type", "default_member_role", "default_member_role_str")
_UNBUILT = ("max_concurrent_tasks", "max_concurrent_gpus", "block_unauthenticated_resources")


class EnvironmentRpcs:
    def __init__(self, environments: Environments) -> None:
        self._environments = environments

    async def EnvironmentGetOrCreate(
        self, request: api_pb2.EnvironmentGetOrCreateRequest, caller: Caller
    ) -> api_pb2.EnvironmentGetOrCreateResponse:
        creation = Creation(request.object_creation_type)
        environment = await self._environments.get_or_create(request.deployment_name, creation)
        settings = api_pb2.EnvironmentSettings(
            image_builder_version=self._environments.builder_version(caller), webhook_suffix=environment.web_suffix
        )
        metadata = api_pb2.EnvironmentMetadata(name=environment.name, settings=settings)
        return api_pb2.EnvironmentGetOrCreateResponse(environment_id=environment.id, metadata=metadata)

    async def EnvironmentCreate(self, request: api_pb2.EnvironmentCreateRequest, _caller: Caller) -> Empty:
        _refuse(request, _ONE_PERSON, "Restricted and public environments are about several people; this engine has one.")
        await self._environments.get_or_create(request.name, Creation.MUST_BE_NEW)
        return Empty()

    async def EnvironmentList(self, _request: Empty, _caller: Caller) -> api_pb2.EnvironmentListResponse:
        return api_pb2.EnvironmentListResponse(items=[_item(environment) for environment in await self._environments.list()])

    async def EnvironmentUpdate(self, request: api_pb2.EnvironmentUpdateRequest, _caller: Caller) -> api_pb2.EnvironmentListItem:
        _refuse(request, ("image_builder_version",), "All environments share one version: set image_builder_version in config.toml.")
        _refuse(request, _UNBUILT, "Limits of single environments are not built yet.")
        environment = await self._environments.update(
            request.current_name,
            new_name=request.name.value if request.HasField("name") else None,
            web_suffix=request.web_suffix.value if request.HasField("web_suffix") else None,
        )
        return _item(environment)

    async def EnvironmentDelete(self, request: api_pb2.EnvironmentDeleteRequest, _caller: Caller) -> Empty:
        await self._environments.delete(request.name)
        return Empty()


def _item(environment: Environment) -> api_pb2.EnvironmentListItem:
    return api_pb2.EnvironmentListItem(
        name=environment.name,
        webhook_suffix=environment.web_suffix,
        created_at=environment.created_at.timestamp(),
        default=environment.is_default,
        environment_id=environment.id,
    )


def _refuse(request: api_pb2.EnvironmentCreateRequest | api_pb2.EnvironmentUpdateRequest, fields: tuple[str, ...], why: str) -> None:
    if any(field.name in fields for field, _ in request.ListFields()):
        raise NotSupported(why)
