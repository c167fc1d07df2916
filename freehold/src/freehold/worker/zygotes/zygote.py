"""One zygote: what it is made for and what it has imported, of an image and never of an app."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import structlog

from freehold.domain.ids import AppId, ImageId, LayerId
from freehold.domain.images import ImageConfig
from freehold.wire.worker import ClientRuntime, TaskSpec
from freehold.worker import launch
from freehold.worker.ports import Bundles, ContainerSpec, Runtime, Snapshotter
from freehold.worker.zygotes.sources import FAILURES, Source

log = structlog.get_logger(__name__)

_LOADING = 90.0  # seconds
# Read by the interpreter or by native code where nobody sees it.
_PREFIXES = (
    "PYTHON",
    "LD_",
    "LC_",
    "MALLOC_",
    "GLIBC_",
    "OMP_",
    "KMP_",
    "MKL_",
    "OPENBLAS_",
    "GOTO_",
    "BLIS_",
    "CUDA_",
    "NVIDIA_",
    "ASAN_",
)
_NAMES = frozenset({"LANG", "LANGUAGE", "TZ", "HOME", "PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF"})
_OF_THE_TASK = frozenset({"PYTHONPATH"})  # set anew in each


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What a zygote is made for: it serves tasks of this app over this image and client, and no others."""

    app_id: AppId | None
    image_id: ImageId | None
    layers: tuple[LayerId, ...]
    image: ImageConfig
    client: ClientRuntime
    environment: Mapping[str, str]

    @classmethod
    def of(cls, task: TaskSpec) -> "Stock":
        ours = {
            name: value
            for name, value in task.env.items()
            if name in {"MODAL_ENVIRONMENT", "MODAL_CLOUD_PROVIDER", "MODAL_REGION", "MODAL_IMAGE_ID"}
        }
        env = launch.environment(task.image, ours, task_id="", token="")
        for name in ("MODAL_OVERRIDE_HEADERS", "MODAL_TASK_ID", "MODAL_CONTAINER_ARGUMENTS_PATH", "MODAL_SERVER_URL"):
            del env[name]
        return cls(
            app_id=task.app_id,
            image_id=task.image_id,
            layers=task.layers,
            image=task.image,
            client=task.client,
            environment={**env, "PYTHONPATH": "/pkg"},
        )

    @property
    def key(self) -> str:
        return repr((self.app_id, self.image_id, self.layers, self.image, self.client, sorted(self.environment.items())))


class Zygote(Source):
    """Made by `start`."""

    def __init__(self, zygote_id: str, stock: Stock, runtime: Runtime) -> None:
        super().__init__(zygote_id, stock.key, stock.app_id, runtime)
        self.stock = stock
        self.spoiled_by = ""  # the module after which it must not be forked
        self.modules: frozenset[str] = frozenset()  # that it was told to import
        self.reads: Mapping[str, str] = {}  # names in the environment, and by which module each was read; empty for modal's own runtime

    async def start(self, modules: tuple[str, ...], *, snapshots: Snapshotter, bundles: Bundles) -> None:
        """Returns when tasks can be forked, or never will: then `why_not` stays."""
        self.modules = frozenset(modules)
        try:
            with anyio.fail_after(_LOADING):
                await self._begin(snapshots, bundles)
                await self._line.send({"modules": modules})
                self._take(await self._line.receive())
        except FAILURES as error:
            self.why_not = f"The process to fork from could not be made: {str(error) or type(error).__name__}"

    def _take(self, told: dict[str, Any]) -> None:
        self.size, self.spoiled_by = int(told["size"]), str(told["spoiled"])
        self.reads = {str(name): str(module) for name, module in told["reads"].items()}
        self.why_not = f"It must not be forked: {self.spoiled_by} {told['why']}." if told["why"] else ""
        log.info("zygote_ready", zygote=self.id, app_id=self.stock.app_id, seconds=told["took"], mib=self.size >> 20, failed=told["failed"])

    async def _begin(self, snapshots: Snapshotter, bundles: Bundles) -> None:
        stock = self.stock
        layers = await bundles.layers_for(stock.client, stock.layers)
        self._traces.push_async_callback(snapshots.remove, self.id)
        rootfs = await snapshots.mount(self.id, stock.layers, layers)
        python = launch.find_python(rootfs, stock.environment["PATH"])
        argv = (python, "-m", f"{launch.OWN_PACKAGE}.zygote")
        await self._run(
            ContainerSpec(
                id=self.id, rootfs=rootfs, argv=argv, stdout=-1, stderr=-1, env=stock.environment, cwd=launch.workdir(stock.image)
            )
        )

    def conflicts(self, env: Mapping[str, str]) -> list[str]:
        """What this environment sets otherwise than it was when something read it."""
        watched = {name for name in {*env, *self.stock.environment} if name in self.reads or _is_native(name)}
        return sorted(name for name in watched - _OF_THE_TASK if env.get(name) != self.stock.environment.get(name))


def _is_native(name: str) -> bool:
    return name in _NAMES or name.startswith(_PREFIXES)
