"""Secrets. Values go in; only keys come out."""

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.services.secrets import Secrets, WantedSecret
from freehold.domain.creation import Creation
from freehold.domain.ids import SecretId
from freehold.domain.secrets import Secret


class SecretRpcs:
    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    async def SecretGetOrCreate(self, request: api_pb2.SecretGetOrCreateRequest, _caller: Caller) -> api_pb2.SecretGetOrCreateResponse:
        wanted = WantedSecret(
            environment=request.environment_name,
            name=request.deployment_name,
            creation=Creation(request.object_creation_type),
            env=dict(request.env_dict),
            app_id=request.app_id,
            required_keys=tuple(request.required_keys),
        )
        secret = await self._secrets.get_or_create(wanted)
        return api_pb2.SecretGetOrCreateResponse(secret_id=secret.id, metadata=_metadata(secret))

    async def SecretList(self, request: api_pb2.SecretListRequest, _caller: Caller) -> api_pb2.SecretListResponse:
        page = request.pagination
        secrets = await self._secrets.list(request.environment_name, limit=page.max_objects, created_before=page.created_before)
        items = [_item(secret) for secret in secrets]
        return api_pb2.SecretListResponse(items=items, environment_name=request.environment_name)

    async def SecretGetInfo(self, request: api_pb2.SecretGetInfoRequest, _caller: Caller) -> api_pb2.SecretGetInfoResponse:
        secret = await self._secrets.get(SecretId(request.secret_id))
        return api_pb2.SecretGetInfoResponse(metadata=_metadata(secret))

    async def SecretUpdate(self, request: api_pb2.SecretUpdateRequest, _caller: Caller) -> Empty:
        changes = {update.key: update.value if update.HasField("value") else None for update in request.updates}
        await self._secrets.update(SecretId(request.secret_id), changes)
        return Empty()

    async def SecretDelete(self, request: api_pb2.SecretDeleteRequest, _caller: Caller) -> Empty:
        await self._secrets.delete(SecretId(request.secret_id))
        return Empty()


def _metadata(secret: Secret) -> api_pb2.SecretMetadata:
    return api_pb2.SecretMetadata(
        name=secret.name,
        creation_info=api_pb2.CreationInfo(created_at=secret.created_at.timestamp()),
        keys=secret.keys,
        environment_name=secret.environment,
        last_used_at=_last_used_at(secret),
    )


def _item(secret: Secret) -> api_pb2.SecretListItem:
    return api_pb2.SecretListItem(
        label=secret.name,
        created_at=secret.created_at.timestamp(),
        last_used_at=_last_used_at(secret),
        environment_name=secret.environment,
        secret_id=secret.id,
        metadata=_metadata(secret),
    )


def _last_used_at(secret: Secret) -> float:
    return secret.last_used_at.timestamp() if secret.last_used_at else 0.0
