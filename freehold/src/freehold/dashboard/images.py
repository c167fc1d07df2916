"""Images: their state, layers, steps and build logs."""

from modal_proto import api_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from freehold.dashboard.acting import as_cursor, place_in
from freehold.dashboard.log_lines import end_of
from freehold.dashboard.parts import Parts
from freehold.dashboard.views import Views
from freehold.domain.ids import ImageId
from freehold.domain.logs import LogFilter


class ImagePages:
    def __init__(self, parts: Parts, views: Views) -> None:
        self._parts = parts
        self._views = views
        self.routes = [Route("/images", self._list), Route("/images/{image_id}", self._one)]

    async def _list(self, request: Request) -> Response:
        page = await self._parts.listings.images(place_in(request))
        return self._views.page(
            request,
            "images",
            images=page.items,
            steps={image.id: _steps(image.request) for image in page.items},
            more=as_cursor(page.after),
        )

    async def _one(self, request: Request) -> Response:
        image = await self._parts.images.get(ImageId(request.path_params["image_id"]))
        sizes = await self._parts.layer_sizes.of(image.layers)
        log = await end_of(request, self._parts.logs, image.id, LogFilter(), f"log={image.id}", is_live=not image.is_finished)
        return self._views.page(request, "image", image=image, steps=_steps(image.request), sizes=sizes, log=log)


def _steps(request: bytes) -> list[str]:
    """Its Dockerfile commands, and what else it is made of."""
    message = api_pb2.Image.FromString(request)
    bases = [f"FROM {base.image_id}" for base in message.base_images if base.image_id]
    commands = [command for command in message.dockerfile_commands if not (bases and command.startswith("FROM base"))]
    function = (
        [f"run_function {message.build_function.definition}"]
        if message.HasField("build_function") and message.build_function.definition
        else []
    )
    return [*bases, *commands, *function]
