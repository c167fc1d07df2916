"""The workspace, and the greeting of clients."""

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc import mapping
from freehold.control.services.workspaces import Workspaces


class WorkspaceRpcs:
    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces

    async def ClientHello(self, _request: Empty, caller: Caller) -> api_pb2.ClientHelloResponse:
        return api_pb2.ClientHelloResponse(
            image_builder_version=self._workspaces.builder_version(caller), server_warnings=mapping.warnings(caller.cautions)
        )

    async def WorkspaceNameLookup(self, _request: Empty, _caller: Caller) -> api_pb2.WorkspaceNameLookupResponse:
        return api_pb2.WorkspaceNameLookupResponse(workspace_name=self._workspaces.name, username=self._workspaces.name)
