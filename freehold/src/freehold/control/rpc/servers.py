"""Servers of `@app.server`: where their containers listen."""

from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.services.functions import Functions
from freehold.control.services.lanes import Lanes
from freehold.control.services.web_rooms import Lane
from freehold.domain.ids import FunctionId


class ServerRpcs:
    def __init__(self, *, functions: Functions, lanes: Lanes) -> None:
        self._functions = functions
        self._lanes = lanes

    async def FlashContainerList(self, request: api_pb2.FlashContainerListRequest, _caller: Caller) -> api_pb2.FlashContainerListResponse:
        live = await self._functions.live(FunctionId(request.function_id))
        return api_pb2.FlashContainerListResponse(containers=map(_container, self._lanes.open_of(live.id)))


def _container(lane: Lane) -> api_pb2.FlashContainerListResponse.Container:
    """One that listens at a port of its own; others have no address that means anything elsewhere."""
    host, port = lane.address if isinstance(lane.address, tuple) else ("", 0)
    return api_pb2.FlashContainerListResponse.Container(task_id=lane.id, host=host, port=port)
