"""Tokens of clients: the one in use, all of them, and new ones for clients that have none yet."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.services.token_flows import TokenFlow, TokenFlows
from freehold.control.services.tokens import Tokens, check_client
from freehold.control.services.workspaces import Workspaces
from freehold.domain.ids import TokenFlowId, TokenId
from freehold.domain.tokens import PAGE_PATH, Token


class TokenRpcs:
    def __init__(self, *, tokens: Tokens, flows: TokenFlows, workspaces: Workspaces, pages_url: str) -> None:
        """`pages_url` is where browsers find the engine's own pages, without a slash at its end."""
        self._tokens = tokens
        self._flows = flows
        self._workspaces = workspaces
        self._pages_url = pages_url

    async def AuthTokenGet(self, _request: api_pb2.AuthTokenGetRequest, caller: Caller) -> api_pb2.AuthTokenGetResponse:
        return api_pb2.AuthTokenGetResponse(token=self._tokens.proof_of(caller))

    async def TokenInfoGet(self, _request: api_pb2.TokenInfoGetRequest, caller: Caller) -> api_pb2.TokenInfoGetResponse:
        token = self._tokens.of(caller)
        return api_pb2.TokenInfoGetResponse(
            token_id=token.id,
            token_name=token.name,
            workspace_id=self._workspaces.id,
            workspace_name=self._workspaces.name,
            user_identity=api_pb2.UserIdentity(user_id=self._workspaces.id, username=self._workspaces.name),
            created_at=_timestamp(token.created_at),
            expires_at=_timestamp(token.expires_at),
        )

    async def TokensList(self, _request: Empty, caller: Caller) -> api_pb2.TokensListResponse:
        check_client(caller)
        return api_pb2.TokensListResponse(tokens=map(self._message, self._tokens.list()))

    async def TokenDelete(self, request: api_pb2.TokenDeleteRequest, caller: Caller) -> Empty:
        check_client(caller)
        await self._tokens.revoke(TokenId(request.token_id))
        return Empty()

    async def TokenDisable(self, request: api_pb2.TokenDisableRequest, caller: Caller) -> Empty:
        check_client(caller)
        await self._tokens.enable(_ids(request.token_ids), is_enabled=False)
        return Empty()

    async def TokenEnable(self, request: api_pb2.TokenEnableRequest, caller: Caller) -> Empty:
        check_client(caller)
        await self._tokens.enable(_ids(request.token_ids), is_enabled=True)
        return Empty()

    async def TokenFlowCreate(self, request: api_pb2.TokenFlowCreateRequest, caller: Caller) -> api_pb2.TokenFlowCreateResponse:
        check_client(caller)
        flow = self._flows.begin(request.expires_in_seconds)
        url = self._pages_url + PAGE_PATH.format(flow_id=flow.id)
        return api_pb2.TokenFlowCreateResponse(token_flow_id=flow.id, web_url=url, code=flow.code, wait_secret=flow.wait_secret)

    async def TokenFlowWait(self, request: api_pb2.TokenFlowWaitRequest, caller: Caller) -> api_pb2.TokenFlowWaitResponse:
        check_client(caller)
        made = await self._flows.wait(TokenFlowId(request.token_flow_id), request.wait_secret, request.timeout)
        if made is None:
            return api_pb2.TokenFlowWaitResponse(timeout=True)
        token, secret = made
        return api_pb2.TokenFlowWaitResponse(token_id=token.id, token_secret=secret, workspace_username=self._workspaces.name)

    def _message(self, token: Token) -> api_pb2.TokensListResponse.Token:
        return api_pb2.TokensListResponse.Token(
            token_id=token.id,
            name=token.name,
            created_at=token.created_at.timestamp(),
            last_used_at=token.last_used_at.timestamp() if token.last_used_at else 0,
            expires_at=token.expires_at.timestamp() if token.expires_at else 0,
            disabled=token.is_disabled,
            workspace_id=self._workspaces.id,
            user_id=self._workspaces.id,
            member_id=self._workspaces.id,
            member_displayname=self._workspaces.name,
        )


class TokenOperations:
    """What `freehold tokens` asks."""

    def __init__(self, *, tokens: Tokens, flows: TokenFlows) -> None:
        self._tokens = tokens
        self._flows = flows

    def table(self) -> dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]]:
        return {
            "TokenList": self.list,
            "TokenMake": self.make,
            "TokenRevoke": self.revoke,
            "TokenConfirm": self.confirm,
            "TokenCode": self.code,
        }

    async def list(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"tokens": list(map(_row, self._tokens.list())), "waiting": list(map(_waiting, self._flows.waiting()))}

    async def make(self, request: dict[str, Any]) -> dict[str, Any]:
        token, secret = await self._tokens.create(str(request["name"]), int(request["lifetime"]))
        return {**_row(token), "secret": secret}

    async def revoke(self, request: dict[str, Any]) -> dict[str, Any]:
        return _row(await self._tokens.revoke(TokenId(str(request["id"]))))

    async def confirm(self, request: dict[str, Any]) -> dict[str, Any]:
        return _waiting(self._flows.confirm_as_owner(str(request["code"]), str(request["name"])))

    async def code(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"code": self._flows.one_time_code()}


def _ids(token_ids: Sequence[str]) -> list[TokenId]:
    return [TokenId(token_id) for token_id in token_ids]


def _timestamp(moment: datetime | None) -> Timestamp | None:
    return Timestamp(seconds=int(moment.timestamp())) if moment else None


def _row(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "is_home": not token.secret_hash,
        "created_at": token.created_at.isoformat(),
        "last_used_at": token.last_used_at.isoformat() if token.last_used_at else None,
        "expires_at": token.expires_at.isoformat() if token.expires_at else None,
        "is_disabled": token.is_disabled,
    }


def _waiting(flow: TokenFlow) -> dict[str, Any]:
    return {"code": flow.code, "asked_at": flow.asked_at.isoformat(), "name": flow.name}
