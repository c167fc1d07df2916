"""Functions and classes: definition, lookup, binding, live settings."""

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.services.apps import Apps
from freehold.control.services.functions import Functions, LiveFunction
from freehold.control.services.scaling import Scaling
from freehold.domain import clients
from freehold.domain.errors import InvalidRequest
from freehold.domain.functions import Function
from freehold.domain.ids import AppId, FunctionId
from freehold.wire.functions import function_data, with_alternatives

_OF_A_CLASS = ".*"  # ends the name of the function behind all methods of a class


class FunctionRpcs:
    def __init__(self, *, apps: Apps, functions: Functions, scaling: Scaling) -> None:
        self._apps = apps
        self._functions = functions
        self._scaling = scaling

    async def FunctionPrecreate(self, request: api_pb2.FunctionPrecreateRequest, caller: Caller) -> api_pb2.FunctionPrecreateResponse:
        if request.function_name.endswith(_OF_A_CLASS):
            _refuse_old_classes(caller)
        app = await self._apps.get_live(AppId(request.app_id))
        function, metadata = await self._functions.precreate(app, request)
        return api_pb2.FunctionPrecreateResponse(function_id=function.id, handle_metadata=metadata)

    async def FunctionCreate(self, request: api_pb2.FunctionCreateRequest, caller: Caller) -> api_pb2.FunctionCreateResponse:
        if request.function.is_class:
            _refuse_old_classes(caller)
        app = await self._apps.get_live(AppId(request.app_id))
        message = _definition(request)
        live = await self._functions.create(app, message, request.existing_function_id)
        return api_pb2.FunctionCreateResponse(
            function_id=live.id,
            function=self._functions.described(app, live),
            handle_metadata=self._functions.handle(live),
            function_data=function_data(message, live.web_urls),
        )

    async def FunctionGet(self, request: api_pb2.FunctionGetRequest, _caller: Caller) -> api_pb2.FunctionGetResponse:
        app = await self._apps.get_deployed(request.environment_name, request.app_name)
        live = await self._functions.live(await self._apps.function_id(app, request.object_tag))
        return api_pb2.FunctionGetResponse(
            function_id=live.id, handle_metadata=self._functions.handle(live), function=function_data(live.message, live.web_urls)
        )

    async def FunctionGetById(self, request: api_pb2.FunctionGetByIdRequest, _caller: Caller) -> api_pb2.FunctionGetByIdResponse:
        live = await self._live(request.function_id)
        return api_pb2.FunctionGetByIdResponse(
            handle_metadata=self._functions.handle(live), function=function_data(live.message, live.web_urls)
        )

    async def FunctionGetSerialized(
        self, request: api_pb2.FunctionGetSerializedRequest, _caller: Caller
    ) -> api_pb2.FunctionGetSerializedResponse:
        """Containers before 1.0 ask for what newer ones find in their definition."""
        message = (await self._live(request.function_id)).message
        return api_pb2.FunctionGetSerializedResponse(
            function_serialized=message.function_serialized, class_serialized=message.class_serialized
        )

    async def FunctionBindParams(self, request: api_pb2.FunctionBindParamsRequest, _caller: Caller) -> api_pb2.FunctionBindParamsResponse:
        bound = await self._functions.bind(FunctionId(request.function_id), request)
        return api_pb2.FunctionBindParamsResponse(bound_function_id=bound.id, handle_metadata=self._functions.handle(bound))

    async def FunctionGetCurrentStats(self, request: api_pb2.FunctionGetCurrentStatsRequest, _caller: Caller) -> api_pb2.FunctionStats:
        return self._scaling.stats(await self._live(request.function_id))

    async def FunctionUpdateSchedulingParams(
        self, request: api_pb2.FunctionUpdateSchedulingParamsRequest, _caller: Caller
    ) -> api_pb2.FunctionUpdateSchedulingParamsResponse:
        settings = await self._scaling.update(await self._live(request.function_id), request)
        return api_pb2.FunctionUpdateSchedulingParamsResponse(current_settings=settings)

    async def FunctionGetSchedulingParams(
        self, request: api_pb2.FunctionGetSchedulingParamsRequest, _caller: Caller
    ) -> api_pb2.FunctionGetSchedulingParamsResponse:
        configuration = self._scaling.configuration(await self._live(request.function_id))
        return api_pb2.FunctionGetSchedulingParamsResponse(autoscaler_configuration=configuration)

    async def FunctionListVariants(
        self, request: api_pb2.FunctionListVariantsRequest, _caller: Caller
    ) -> api_pb2.FunctionListVariantsResponse:
        variants = await self._scaling.variants(FunctionId(request.function_id), request.limit)
        return api_pb2.FunctionListVariantsResponse(infos=[_variant(function) for function in variants], ordered_by_task_count=True)

    async def FunctionGetDynamicConcurrency(
        self, request: api_pb2.FunctionGetDynamicConcurrencyRequest, _caller: Caller
    ) -> api_pb2.FunctionGetDynamicConcurrencyResponse:
        live = await self._live(request.function_id)
        return api_pb2.FunctionGetDynamicConcurrencyResponse(
            concurrency=self._scaling.concurrency(live, request.target_concurrency, request.max_concurrency)
        )

    async def ClassCreate(self, request: api_pb2.ClassCreateRequest, caller: Caller) -> api_pb2.ClassCreateResponse:
        _refuse_old_classes(caller)
        app = await self._apps.get_live(AppId(request.app_id))
        user_class = await self._functions.create_class(app, request)
        return api_pb2.ClassCreateResponse(class_id=user_class.id, handle_metadata=api_pb2.ClassHandleMetadata(methods=request.methods))

    async def ClassGet(self, request: api_pb2.ClassGetRequest, _caller: Caller) -> api_pb2.ClassGetResponse:
        app = await self._apps.get_deployed(request.environment_name, request.app_name)
        user_class = await self._functions.get_class(await self._apps.class_id(app, request.object_tag))
        service = await self._functions.live(await self._apps.function_id(app, f"{request.object_tag}.*"))
        metadata = api_pb2.ClassHandleMetadata(
            methods=api_pb2.ClassCreateRequest.FromString(user_class.payload).methods,
            class_function_id=service.id,
            class_function_metadata=self._functions.handle(service),
        )
        return api_pb2.ClassGetResponse(class_id=user_class.id, handle_metadata=metadata)

    async def FunctionFinishInputs(self, request: api_pb2.FunctionFinishInputsRequest, _caller: Caller) -> Empty:
        del request  # a map's call ends when its reader has all outputs; that no more inputs come changes nothing here
        return Empty()

    async def _live(self, function_id: str) -> LiveFunction:
        return await self._functions.live(FunctionId(function_id))


def _refuse_old_classes(caller: Caller) -> None:
    if clients.lacks_classes(caller.client_version):
        msg = (
            f"Classes of modal {caller.client_version} are not served, only its functions and web endpoints: its protocol for classes is "
            f"gone. Upgrade: pip install 'modal=={clients.RECOMMENDED}', or a newer one."
        )
        raise InvalidRequest(msg)


def _variant(function: Function) -> api_pb2.FunctionVariantInfo:
    options = api_pb2.FunctionOptions.FromString(function.options) if function.options else None
    return api_pb2.FunctionVariantInfo(function_id=function.id, serialized_params=function.serialized_params, function_options=options)


def _definition(request: api_pb2.FunctionCreateRequest) -> api_pb2.Function:
    """Functions with a list of GPUs come as ranked alternatives."""
    ranked = request.function_data.ranked_functions
    message = with_alternatives(ranked) if ranked and not request.HasField("function") else request.function
    if request.HasField("schedule"):  # where older clients put it
        message.schedule.CopyFrom(request.schedule)
    return message
