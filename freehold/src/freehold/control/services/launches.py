"""What a worker must know to start a task: the image, the files, the environment and the arguments of modal's container entrypoint."""

import hashlib

from modal_proto import api_pb2

from freehold.config import Settings
from freehold.control.services.apps import Apps
from freehold.control.services.functions import Functions, LiveFunction
from freehold.control.services.images import Images
from freehold.control.services.machines import Machines
from freehold.control.services.mounts import Mounts
from freehold.control.services.secrets import Secrets
from freehold.control.services.tasks import LiveTask
from freehold.control.services.volumes import Volumes
from freehold.domain.apps import App, AppState
from freehold.domain.errors import Unavailable
from freehold.domain.files import FileTree
from freehold.domain.functions import FunctionSpec, ResourceRequest, WebKind
from freehold.domain.ids import ClassId, FunctionId, TaskId, is_id
from freehold.domain.images import Image
from freehold.domain.seams import Seam, may_snapshot, seams_for
from freehold.domain.volumes import VolumeMount
from freehold.store.ports import Store
from freehold.wire import volumes as wire
from freehold.wire.worker import ClientRuntime, Limits, TaskSpec

_WITHOUT_SERVER = frozenset({WebKind.NONE, WebKind.SERVER})  # the user's own


class Launches:
    def __init__(
        self,
        *,
        store: Store,
        settings: Settings,
        apps: Apps,
        functions: Functions,
        images: Images,
        mounts: Mounts,
        secrets: Secrets,
        machines: Machines,
        volumes: Volumes,
        default_client: str,
    ) -> None:
        self._store = store
        self._settings = settings
        self._apps = apps
        self._functions = functions
        self._images = images
        self._mounts = mounts
        self._secrets = secrets
        self._machines = machines
        self._volumes = volumes
        self._default_client = default_client  # for apps whose client did not say its version

    async def spec(self, task: LiveTask) -> TaskSpec:
        """Everything that the task's container starts with, as its definition says now."""
        return await self._spec(task.task.function_id, task.id, task.token, task.task.gpus)

    async def expected(self, function_id: FunctionId) -> TaskSpec | None:
        """What the next task of a function will be like; it has no id, and may call nothing. None for one that will have a GPU: no other
        may be made like it.
        """
        live = await self._functions.live(function_id)
        return None if self._machines.booking(live.spec.resources).gpus else await self._spec(function_id, TaskId(""), "")

    async def _spec(self, function_id: FunctionId, task_id: TaskId, token: str, gpus: tuple[int, ...] = ()) -> TaskSpec:
        live = await self._functions.live(function_id)
        app = await self._apps.get(live.function.app_id)
        image = await self._images.get_built(live.spec.image_id)
        arguments = await self.arguments(task_id, app, live)
        return TaskSpec(
            task_id=task_id,
            layers=image.layers,
            trees=await self.trees(live.spec),
            image=image.config,
            client=self.client(app, image, live.spec),
            arguments=arguments.SerializeToString(),
            token=token,
            env=await self.environment(app, live.spec),
            limits=limits(live.spec.resources, self._settings.pids_limit),
            gpus=gpus,
            network=not live.spec.block_network,
            volumes=await self.volumes(live.spec),
            app_id=app.id,
            image_id=image.id,
            function_id=live.id,
            snapshot=self._snapshot(app, arguments),
            startup_seconds=live.spec.startup_timeout.total_seconds(),
        )

    def _snapshot(self, app: App, arguments: api_pb2.ContainerArguments) -> str:
        """Of deployed functions that want it: all that they are told at their start, but which task they are."""
        wanted = arguments.function_def.checkpointing_enabled and may_snapshot(self._client_version(app))
        if not wanted or app.state is not AppState.DEPLOYED:
            return ""
        told = api_pb2.ContainerArguments()
        told.CopyFrom(arguments)
        told.task_id = ""
        return hashlib.sha256(told.SerializeToString(deterministic=True)).hexdigest()

    async def trees(self, spec: FunctionSpec) -> tuple[FileTree, ...]:
        """Its mounts, without the client's own: that one is made for each version and Python by the worker."""
        trees = [await self._mounts.tree_of(mount_id) for mount_id in spec.mount_ids]
        return tuple(tree for tree in trees if tree.files)

    async def volumes(self, spec: FunctionSpec) -> tuple[VolumeMount, ...]:
        """Those that it mounts, which must all be there."""
        for mount in spec.volumes:
            await self._volumes.get(mount.volume_id)
        return spec.volumes

    def client(self, app: App, image: Image, spec: FunctionSpec) -> ClientRuntime:
        if not image.config.python_series:
            msg = f"Image {image.id} has no Python on its PATH, so no function can run in it. Add one, or use modal.Image.debian_slim()."
            raise Unavailable(msg)
        seams = self.seams_of(app, is_server=spec.is_server)
        return ClientRuntime(
            version=self._client_version(app),
            python_series=image.config.python_series,
            with_dependencies=spec.needs_client_dependencies or image.builder_version > "2024.10",
            with_web=spec.web is WebKind.FUNCTION,
            with_server=spec.web not in _WITHOUT_SERVER and Seam.WEB in seams,
            seams=seams,
        )

    def seams_of(self, app: App, *, is_server: bool = False) -> tuple[Seam, ...]:
        """Which parts of modal's runtime are replaced in the containers of this app's functions, or servers."""
        return seams_for(self._client_version(app), self._settings.container_transport, self._settings.web_path, is_server=is_server)

    def _client_version(self, app: App) -> str:
        return app.client_version or self._default_client

    async def environment(self, app: App, spec: FunctionSpec) -> dict[str, str]:
        """Secrets and what modal's runtime reads; the worker adds what belongs to the container itself."""
        return {
            **await self._secrets.env_of(list(spec.secret_ids)),
            "MODAL_ENVIRONMENT": app.environment,
            "MODAL_IMAGE_ID": spec.image_id,
            "MODAL_CLOUD_PROVIDER": "CLOUD_PROVIDER_UNSPECIFIED",
            "MODAL_REGION": "local",
        }

    async def arguments(self, task_id: TaskId, app: App, live: LiveFunction) -> api_pb2.ContainerArguments:
        return api_pb2.ContainerArguments(
            task_id=task_id,
            function_id=live.id,
            app_id=app.id,
            function_def=live.message,
            serialized_params=live.function.serialized_params,
            environment_name=app.environment,
            app_layout=await self.layout(app, live),
        )

    async def layout(self, app: App, live: LiveFunction | None = None) -> api_pb2.AppLayout:
        """The app's functions and classes with their handles; for a task, every object that its function depends on too."""
        layout = await self._apps.layout(app.id)
        functions = dict(layout.function_ids)
        if live is not None:
            functions.setdefault(live.message.function_name, live.function.base_id or live.id)
        message = api_pb2.AppLayout(function_ids=functions, class_ids=layout.class_ids)
        for function_id in functions.values():
            handle = self._functions.handle(await self._functions.live(FunctionId(function_id)))
            message.objects.add(object_id=function_id, function_handle_metadata=handle)
        for class_id in layout.class_ids.values():
            message.objects.add(object_id=class_id, class_handle_metadata=await self._class_handle(ClassId(class_id)))
        if live is not None:
            present = {item.object_id for item in message.objects}
            needed = [item.object_id for item in live.message.object_dependencies if item.object_id not in present]
            volumes = await self._volumes.find_all([object_id for object_id in needed if is_id(object_id, "vo")])
            for object_id in needed:
                volume = volumes.get(object_id)
                message.objects.add(object_id=object_id, volume_metadata=wire.metadata(volume) if volume else None)
        return message

    async def objects(self, app: App, function_id: FunctionId | None = None) -> list[api_pb2.AppGetObjectsItem]:
        """The layout as clients before 0.72 want it, with all that one function depends on, if it is named."""
        layout = await self.layout(app, await self._functions.live(function_id) if function_id else None)
        tags = {object_id: tag for tag, object_id in (*layout.function_ids.items(), *layout.class_ids.items())}
        return [api_pb2.AppGetObjectsItem(tag=tags.get(item.object_id, ""), object=item) for item in layout.objects]

    async def _class_handle(self, class_id: ClassId) -> api_pb2.ClassHandleMetadata:
        async with self._store.transaction() as tx:
            user_class = await tx.functions.get_class(class_id)
        return api_pb2.ClassHandleMetadata(methods=api_pb2.ClassCreateRequest.FromString(user_class.payload).methods)


def limits(resources: ResourceRequest, pids: int) -> Limits:
    """Requests are for placement; only what the user named as a limit binds."""
    return Limits(memory_mib=resources.memory_limit_mib, milli_cpu=resources.milli_cpu_limit, pids=pids)
