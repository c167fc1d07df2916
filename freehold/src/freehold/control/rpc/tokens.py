"""Tokens: the one that clients use, and the short-lived ones made from it."""

from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.services.workspaces import Workspaces


class TokenRpcs:
    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces

    async def AuthTokenGet(self, _request: api_pb2.AuthTokenGetRequest, _caller: Caller) -> api_pb2.AuthTokenGetResponse:
        return api_pb2.AuthTokenGetResponse(token=self._workspaces.auth_token())

    async def TokenInfoGet(self, _request: api_pb2.TokenInfoGetRequest, _caller: Caller) -> api_pb2.TokenInfoGetResponse:
        return api_pb2.TokenInfoGetResponse(
            token_id=self._workspaces.token_id,
            token_name="freehold login",  # noqa: S106 — where it comes from, not what it is
            workspace_id=self._workspaces.id,
            workspace_name=self._workspaces.name,
            user_identity=api_pb2.UserIdentity(user_id=self._workspaces.id, username=self._workspaces.name),
        )
