"""`Image.run_function`: a function that runs once while an image is built, as a task with one input that the scheduler never sees."""

from modal_proto import api_pb2

from freehold.control.services.apps import Apps
from freehold.control.services.calls import Calls
from freehold.control.services.functions import Functions
from freehold.control.services.images import Images
from freehold.control.services.launches import Launches
from freehold.control.services.live import LiveCall
from freehold.control.services.tasks import Tasks
from freehold.domain.calls import CallKind, Invocation
from freehold.domain.functions import Function, ResourceRequest
from freehold.domain.ids import FunctionId, ImageId, TaskId
from freehold.domain.images import Image
from freehold.domain.tasks import ExitKind, TaskExit
from freehold.wire.worker import BuildFunctionSpec

_SUCCESS = api_pb2.GenericResult.GENERIC_STATUS_SUCCESS


class BuildFunctions:
    def __init__(self, *, images: Images, apps: Apps, functions: Functions, calls: Calls, tasks: Tasks, launches: Launches) -> None:
        self._images = images
        self._apps = apps
        self._functions = functions
        self._calls = calls
        self._tasks = tasks
        self._launches = launches
        self._running: dict[ImageId, TaskId] = {}
        self._calls_of: dict[TaskId, LiveCall] = {}

    async def prepare(self, image: Image, message: api_pb2.Image) -> BuildFunctionSpec:
        """`run_function`: a task of its own with one input, run by the build and not by the scheduler."""
        live = await self._functions.live(FunctionId(image.build_function_id))
        app = await self._apps.get(live.function.app_id)
        base = await self._images.get_built(live.spec.image_id)
        trees, env = await self._launches.trees(live.spec), await self._launches.environment(app, live.spec)
        client = self._launches.client(app, base, live.spec)
        reason = f"build of image {image.id}"
        task = self._tasks.create(live.function, live.definition_id, reason, is_build=True, is_restricted=live.spec.untrusted)
        self._running[image.id] = task.id
        self._calls_of[task.id] = await self._call(live.function, message.build_function.input)
        arguments = await self._launches.arguments(task.id, app, live)
        arguments.function_def.single_use_containers = True
        return BuildFunctionSpec(
            arguments=arguments.SerializeToString(), task_id=task.id, token=task.token, trees=trees, client=client, env=env
        )

    async def resources(self, image: Image) -> ResourceRequest:
        return (await self._functions.live(FunctionId(image.build_function_id))).spec.resources

    async def verdict(self, task_id: TaskId) -> str:
        """After the container of a build function has ended: why its function failed; empty if it succeeded."""
        call = self._calls_of.pop(task_id)
        await self._tasks.record_exit(task_id, TaskExit(kind=ExitKind.FINISHED))
        output = call.latest.get(0)
        self._calls.unwatch(call)
        if output is None:
            return "The build function ended without a result."
        return "" if output.result.status == _SUCCESS else (output.result.traceback or output.result.exception)

    async def release(self, image_id: ImageId) -> None:
        """After the build of an image: a function that it did not come to will not run any more."""
        task_id = self._running.pop(image_id, None)
        if task_id in self._calls_of:
            await self.verdict(task_id)

    async def _call(self, function: Function, payload: api_pb2.FunctionInput) -> LiveCall:
        call = await self._calls.create(function, kind=CallKind.UNARY, invocation=Invocation.SYNC)
        await self._calls.put_inputs(call.id, [api_pb2.FunctionPutInputsItem(idx=0, input=payload)])
        return call
