"""Gives images that are wanted to the worker, with everything that their steps need."""

import structlog
from modal_proto import api_pb2

from freehold.control.controllers.loop import for_each
from freehold.control.services.build_functions import BuildFunctions
from freehold.control.services.images import BuildOrder, Images, gpu_request_of
from freehold.control.services.launches import limits
from freehold.control.services.machines import Machines
from freehold.control.services.mounts import Mounts
from freehold.control.services.secrets import Secrets
from freehold.domain.errors import FreeholdError
from freehold.domain.functions import ResourceRequest
from freehold.domain.ids import ImageId, MountId, SecretId
from freehold.domain.images import Image
from freehold.wire.worker import BuildSpec, BuiltImage, WorkerControl

log = structlog.get_logger()


class Builds:
    def __init__(
        self,
        *,
        images: Images,
        mounts: Mounts,
        secrets: Secrets,
        functions: BuildFunctions,
        machines: Machines,
        worker: WorkerControl,
        pids_limit: int,
    ) -> None:
        self._images = images
        self._mounts = mounts
        self._secrets = secrets
        self._functions = functions
        self._machines = machines
        self._worker = worker
        self._pids_limit = pids_limit
        self._given: set[ImageId] = set()

    async def step(self) -> None:
        unfinished = await self._images.unfinished()
        self._given &= {image.id for image in unfinished}
        await for_each("build", [image for image in unfinished if image.id not in self._given], self._start)

    async def _start(self, image: Image) -> None:
        try:
            spec = await self._spec(image, self._images.order_of(image.id))
        except FreeholdError as error:
            await self._images.record_finished(image.id, str(error))
            return
        await self._images.record_building(image)
        self._worker.build(spec)
        self._given.add(image.id)

    async def _spec(self, image: Image, order: BuildOrder) -> BuildSpec:
        message = api_pb2.Image.FromString(image.request)
        asked = await self._functions.resources(image) if image.build_function_id else gpu_request_of(message)
        context = await self._mounts.tree_of(MountId(message.context_mount_id)) if message.context_mount_id else None
        return BuildSpec(
            image_id=image.id,
            commands=tuple(message.dockerfile_commands),
            bases={base.docker_tag: await self._base(ImageId(base.image_id)) for base in message.base_images},
            context=context,
            context_files={file.filename: file.data for file in message.context_files},
            build_args=dict(message.build_args),
            env=await self._secrets.env_of([SecretId(secret_id) for secret_id in message.secret_ids]),
            function=await self._functions.prepare(image, message) if image.build_function_id else None,
            force=order.force,
            client_version=order.client_version,
            limits=limits(ResourceRequest(), self._pids_limit),
            gpus=self._machines.devices_to_share(asked),
            remark=f"It {remark}." if (remark := self._machines.remark(asked)) else "",
        )

    async def _base(self, image_id: ImageId) -> BuiltImage:
        base = await self._images.get_built(image_id)
        return BuiltImage(layers=base.layers, config=base.config)
