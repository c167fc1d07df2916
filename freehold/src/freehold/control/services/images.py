"""Images: recorded as wanted, built by a worker, found again by the digest of what defines them."""

import hashlib
from dataclasses import dataclass, replace

from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.services.logs import Logs
from freehold.control.services.machines import Machines
from freehold.control.wakeups import Wakeup
from freehold.domain.clock import Clock
from freehold.domain.errors import InvalidRequest
from freehold.domain.functions import ResourceRequest
from freehold.domain.ids import ImageId, new_image_id
from freehold.domain.images import Image, ImageState
from freehold.store.ports import Store
from freehold.wire.functions import gpu_requests
from freehold.wire.worker import BuiltImage


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """What a client asks for. `message` is the modal `Image`."""

    message: api_pb2.Image
    builder_version: str
    app_id: str
    build_function_id: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """How an image was asked for, while it is being built. After a restart of the engine: as usual."""

    client_version: str = ""  # of the caller: build functions run the same client
    force: bool = False


class Images:
    def __init__(self, *, store: Store, logs: Logs, machines: Machines, clock: Clock, wanted: Wakeup) -> None:
        self._store = store
        self._logs = logs
        self._machines = machines
        self._clock = clock
        self._wanted = wanted
        self._orders: dict[ImageId, BuildOrder] = {}

    async def get_or_create(self, request: ImageRequest, caller: Caller) -> Image:
        """The image of this definition: built, being built, or wanted from now on. A failed one is tried again."""
        _check(request)
        self._machines.check("A step of the image", gpu_request_of(request.message))
        key = await self._key(request)
        async with self._store.transaction() as tx:
            found = await tx.images.find_by_key(key)
            if found is not None and found.state is not ImageState.FAILED and not (request.force and found.state is ImageState.BUILT):
                return found
            image = Image(
                id=new_image_id(),
                key=key,
                state=ImageState.WANTED,
                request=request.message.SerializeToString(),
                created_at=self._clock.now(),
                builder_version=request.builder_version,
                app_id=request.app_id,
                build_function_id=request.build_function_id,
            )
            await tx.images.put(image)
        self._orders[image.id] = BuildOrder(client_version=caller.client_version, force=request.force)
        self._wanted.notify()
        return image

    async def get(self, image_id: ImageId) -> Image:
        async with self._store.transaction() as tx:
            return await tx.images.get(image_id)

    async def get_built(self, image_id: ImageId) -> Image:
        image = await self.get(image_id)
        if image.state is not ImageState.BUILT:
            msg = f"Image {image_id} is {image.state}: it cannot be used yet. {image.error}"
            raise InvalidRequest(msg)
        return image

    def order_of(self, image_id: ImageId) -> BuildOrder:
        return self._orders.get(image_id, BuildOrder())

    async def unfinished(self) -> list[Image]:
        async with self._store.transaction() as tx:
            return list(await tx.images.unfinished())

    async def record_building(self, image: Image) -> None:
        async with self._store.transaction() as tx:
            await tx.images.put(replace(image, state=ImageState.BUILDING))

    async def record_finished(self, image_id: ImageId, outcome: BuiltImage | str) -> None:
        async with self._store.transaction() as tx:
            image = await tx.images.get(image_id)
            if isinstance(outcome, str):
                image = replace(image, state=ImageState.FAILED, error=outcome)
            else:
                image = replace(image, state=ImageState.BUILT, layers=outcome.layers, config=outcome.config)
            await tx.images.put(image)
        self._orders.pop(image_id, None)
        self._logs.mark_done(image_id)

    async def _key(self, request: ImageRequest) -> str:
        """Ids of base images stand for their content; ids of a build's own function, mounts and secrets change without a reason."""
        message = api_pb2.Image()
        message.CopyFrom(request.message)
        message.ClearField("secret_ids")
        message.ClearField("context_mount_id")
        digest = hashlib.sha256(message.SerializeToString(deterministic=True))
        digest.update(request.builder_version.encode())
        async with self._store.transaction() as tx:
            if request.message.context_mount_id:
                digest.update((await tx.mounts.get(request.message.context_mount_id)).tree.id.encode())  # type: ignore[arg-type]
            for secret_id in request.message.secret_ids:
                secret = await tx.secrets.get(secret_id)  # type: ignore[arg-type]
                digest.update("\0".join((secret.name, *secret.keys)).encode())
        return digest.hexdigest()


def gpu_request_of(message: api_pb2.Image) -> ResourceRequest:
    """What the steps of an image ask of a machine. A function in its place (`run_function`) asks for itself."""
    return ResourceRequest(gpus=gpu_requests(message.gpu_config))


def _check(request: ImageRequest) -> None:
    message = request.message
    if not message.dockerfile_commands and not request.build_function_id and not message.base_images:
        msg = "An image needs at least a base: the request has neither commands nor base images."
        raise InvalidRequest(msg)
    if message.volume_mounts:
        msg = "Volumes in image builds are not built yet."
        raise InvalidRequest(msg)
