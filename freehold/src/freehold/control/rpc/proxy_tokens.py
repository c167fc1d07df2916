"""Proxy tokens, which the protocol calls webhook tokens. A secret is in the answer to its creation, and in no other."""

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.services.proxy_tokens import ProxyTokens
from freehold.control.services.workspaces import Workspaces
from freehold.domain.ids import EnvironmentId, ProxyTokenId
from freehold.domain.proxy_tokens import ProxyToken


class ProxyTokenRpcs:
    def __init__(self, *, tokens: ProxyTokens, workspaces: Workspaces) -> None:
        self._tokens = tokens
        self._owner = api_pb2.UserIdentity(user_id=workspaces.id, username=workspaces.name)

    async def WebhookTokenCreate(self, request: api_pb2.WebhookTokenCreateRequest, _caller: Caller) -> api_pb2.TokenCreateResponse:
        token, secret = await self._tokens.create(request.name, is_scoped=request.scoped)
        return api_pb2.TokenCreateResponse(token_id=token.id, token_secret=secret)

    async def WebhookTokenUpdate(self, request: api_pb2.WebhookTokenUpdateRequest, _caller: Caller) -> api_pb2.WebhookToken:
        return self._message(await self._tokens.rename(ProxyTokenId(request.token_id), request.name))

    async def WebhookTokenList(self, _request: Empty, _caller: Caller) -> api_pb2.WebhookTokenListResponse:
        return api_pb2.WebhookTokenListResponse(tokens=map(self._message, await self._tokens.list()))

    async def WebhookTokenListForEnvironment(
        self, request: api_pb2.WebhookTokenListForEnvironmentRequest, _caller: Caller
    ) -> api_pb2.WebhookTokenListResponse:
        tokens = await self._tokens.list_for(request.environment_name)
        return api_pb2.WebhookTokenListResponse(tokens=map(self._message, tokens))

    async def WebhookTokenEnvironmentAdd(self, request: api_pb2.WebhookTokenEnvironmentAddRequest, _caller: Caller) -> Empty:
        await self._tokens.allow(ProxyTokenId(request.token_id), EnvironmentId(request.environment_id))
        return Empty()

    async def WebhookTokenEnvironmentRemove(self, request: api_pb2.WebhookTokenEnvironmentRemoveRequest, _caller: Caller) -> Empty:
        await self._tokens.revoke(ProxyTokenId(request.token_id), EnvironmentId(request.environment_id))
        return Empty()

    async def WebhookTokenEnvironmentList(
        self, request: api_pb2.WebhookTokenEnvironmentListRequest, _caller: Caller
    ) -> api_pb2.WebhookTokenEnvironmentListResponse:
        token = await self._tokens.get(ProxyTokenId(request.token_id))
        return api_pb2.WebhookTokenEnvironmentListResponse(environment_ids=token.environment_ids)

    async def WebhookTokenDelete(self, request: api_pb2.TokenDeleteRequest, _caller: Caller) -> Empty:
        await self._tokens.delete(ProxyTokenId(request.token_id))
        return Empty()

    def _message(self, token: ProxyToken) -> api_pb2.WebhookToken:
        return api_pb2.WebhookToken(
            token_id=token.id,
            created_at=token.created_at.timestamp(),
            scoped=token.is_scoped,
            name=token.name,
            created_by=self._owner,
        )
