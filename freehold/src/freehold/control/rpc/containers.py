"""What containers ask for, and what people ask about them."""

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc import mapping
from freehold.control.services.apps import Apps
from freehold.control.services.claims import Claims
from freehold.control.services.task_history import TaskHistory
from freehold.control.services.tasks import Tasks
from freehold.domain.errors import PermissionDenied
from freehold.domain.ids import TaskId


class ContainerRpcs:
    def __init__(self, *, claims: Claims, tasks: Tasks, apps: Apps, history: TaskHistory) -> None:
        self._claims = claims
        self._tasks = tasks
        self._apps = apps
        self._history = history

    async def ContainerHello(self, request: Empty, caller: Caller) -> Empty:
        del request
        _task_of(caller)
        return Empty()

    async def ContainerServerLifecycleReady(self, request: api_pb2.ContainerServerLifecycleReadyRequest, caller: Caller) -> Empty:
        """The enter hooks of a server are done. When its port answers, the container says so itself (`container/web.py`)."""
        del request
        _task_of(caller)
        return Empty()

    async def ContainerHeartbeat(self, request: api_pb2.ContainerHeartbeatRequest, caller: Caller) -> api_pb2.ContainerHeartbeatResponse:
        del request
        return await self._claims.heartbeat(_task_of(caller))

    async def FunctionGetInputs(self, request: api_pb2.FunctionGetInputsRequest, caller: Caller) -> api_pb2.FunctionGetInputsResponse:
        linger = request.batch_linger_ms / 1000
        return await self._claims.claim(_task_of(caller), batch=request.batch_max_size, linger=linger, request_key=caller.idempotency_key)

    async def FunctionPutOutputs(self, request: api_pb2.FunctionPutOutputsRequest, caller: Caller) -> Empty:
        await self._claims.put_outputs(_task_of(caller), list(request.outputs))
        return Empty()

    async def TaskResult(self, request: api_pb2.TaskResultRequest, caller: Caller) -> Empty:
        await self._claims.fail_start(_task_of(caller), request.result)
        return Empty()

    async def ContainerStop(self, request: api_pb2.ContainerStopRequest, caller: Caller) -> api_pb2.ContainerStopResponse:
        if caller.is_restricted and request.task_id != caller.task_id:
            msg = "This function was deployed with restrict_modal_access=True, so its containers may stop only themselves."
            raise PermissionDenied(msg)
        task = self._tasks.find(TaskId(request.task_id))
        if task is None:
            return api_pb2.ContainerStopResponse()  # stopped already; the client repeats this until it is
        self._claims.drain(task, "asked to stop")
        if not request.graceful and not caller.is_task:
            self._tasks.stop(task, "asked to stop")
        return api_pb2.ContainerStopResponse()

    async def TaskList(self, request: api_pb2.TaskListRequest, _caller: Caller) -> api_pb2.TaskListResponse:
        wanted = [live.task for live in self._tasks.all() if not request.app_id or live.task.app_id == request.app_id]
        apps = {task.app_id: await self._apps.get(task.app_id) for task in wanted}
        tasks = [task for task in wanted if not request.environment_name or apps[task.app_id].environment == request.environment_name]
        return api_pb2.TaskListResponse(
            tasks=[
                api_pb2.TaskStats(
                    task_id=task.id,
                    app_id=task.app_id,
                    app_description=apps[task.app_id].description,
                    started_at=mapping.seconds(task.started_at),
                    enqueued_at=mapping.seconds(task.enqueued_at),
                )
                for task in tasks
            ]
        )

    async def TaskGetInfo(self, request: api_pb2.TaskGetInfoRequest, _caller: Caller) -> api_pb2.TaskGetInfoResponse:
        task = await self._history.get(TaskId(request.task_id))
        return api_pb2.TaskGetInfoResponse(app_id=task.app_id, info=mapping.task_info(task))


def _task_of(caller: Caller) -> TaskId:
    if caller.task_id is None:
        msg = "Only containers of this engine may call this."
        raise PermissionDenied(msg)
    return caller.task_id
