"""Images: asked for, waited for."""

from collections.abc import AsyncIterator

from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.rpc.mapping import entry_number
from freehold.control.services.images import ImageRequest, Images
from freehold.control.services.logs import Logs
from freehold.domain.ids import ImageId
from freehold.domain.images import Image, ImageState
from freehold.store.logs import Numbered

_SUCCESS = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)


class ImageRpcs:
    def __init__(self, *, images: Images, logs: Logs) -> None:
        self._images = images
        self._logs = logs

    async def ImageGetOrCreate(self, request: api_pb2.ImageGetOrCreateRequest, caller: Caller) -> api_pb2.ImageGetOrCreateResponse:
        wanted = ImageRequest(
            message=request.image,
            builder_version=request.builder_version,
            app_id=request.app_id,
            build_function_id=request.build_function_id,
            force=request.force_build or request.ignore_cache,
        )
        image = await self._images.get_or_create(wanted, caller)
        return api_pb2.ImageGetOrCreateResponse(image_id=image.id, result=_result(image), metadata=_metadata(image))

    async def ImageFromId(self, request: api_pb2.ImageFromIdRequest, _caller: Caller) -> api_pb2.ImageFromIdResponse:
        image = await self._images.get(ImageId(request.image_id))
        return api_pb2.ImageFromIdResponse(image_id=image.id, metadata=_metadata(image))

    async def ImageJoinStreaming(
        self, request: api_pb2.ImageJoinStreamingRequest, _caller: Caller
    ) -> AsyncIterator[api_pb2.ImageJoinStreamingResponse]:
        """The build's log as it grows, then its result. A stream that ends without one is asked again from `last_entry_id`."""
        image_id = ImageId(request.image_id)
        image = await self._images.get(image_id)
        if not image.is_finished or request.include_logs_for_finished:
            if image.is_finished:
                self._logs.mark_done(image_id)
            async for page in self._logs.follow(image_id, entry_number(request.last_entry_id), request.timeout):
                yield _page(page)
        image = await self._images.get(image_id)
        if image.is_finished:
            yield api_pb2.ImageJoinStreamingResponse(result=_result(image), metadata=_metadata(image), eof=True)


def _page(page: list[Numbered]) -> api_pb2.ImageJoinStreamingResponse:
    return api_pb2.ImageJoinStreamingResponse(
        entry_id=str(page[-1].number),
        task_logs=[
            api_pb2.TaskLogs(data=item.entry.text, timestamp=item.entry.at, file_descriptor=int(item.entry.source))  # type: ignore[arg-type]
            for item in page
        ],
    )


def _result(image: Image) -> api_pb2.GenericResult:
    match image.state:
        case ImageState.BUILT:
            return _SUCCESS
        case ImageState.FAILED:
            return api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE, exception=image.error)
        case _:
            return api_pb2.GenericResult()


def _metadata(image: Image) -> api_pb2.ImageMetadata:
    return api_pb2.ImageMetadata(
        python_version_info=image.config.python_version,
        workdir=image.config.workdir,
        image_builder_version=image.builder_version,
    )
