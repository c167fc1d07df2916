"""Functions: what a task must run, how many inputs it takes and how many tasks there may be.

A function keeps its id over redeployments; what changes is its definition. A class is one function (tag `Name.*`) whose methods are
chosen per input. A bound function is the same code with constructor parameters or other options: a pool of tasks of its own.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from freehold.domain.gpus import GpuRequest
from freehold.domain.ids import AppId, ClassId, DefinitionId, EnvironmentId, FunctionId, ImageId, MountId, SecretId
from freehold.domain.volumes import VolumeMount


class WebKind(StrEnum):
    NONE = ""
    FUNCTION = "function"  # @modal.fastapi_endpoint
    ASGI = "asgi"
    WSGI = "wsgi"
    SERVER = "server"  # @modal.web_server(port), and @app.server


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerSettings:
    min_containers: int = 0
    max_containers: int | None = None  # None: as many as the machine takes
    buffer_containers: int = 0  # spare tasks while there is work
    scaledown_window: timedelta = timedelta(seconds=60)  # a task must have been idle for so long before it is let go
    scaledown_rate_limit: int | None = None  # tasks let go at a time; None: half of those that are not needed
    scaleup_window: timedelta = timedelta(0)  # how long the need must last before tasks are added to those there are
    target_concurrency: float | None = None  # inputs planned for each task; None: what the definition's concurrency says


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    max_inputs: int = 1  # inputs that one task runs at a time
    target_inputs: int = 1  # what the autoscaler plans with


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRequest:
    memory_mib: int = 0  # 0: not asked for
    memory_limit_mib: int = 0
    milli_cpu: int = 0
    milli_cpu_limit: int = 0
    gpus: tuple[GpuRequest, ...] = ()  # alternatives, the one that is wanted most first


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSpec:
    """What the engine decides with, read once from the definition that the client sent (`wire.functions.spec_of`)."""

    image_id: ImageId
    mount_ids: tuple[MountId, ...] = ()
    secret_ids: tuple[SecretId, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    resources: ResourceRequest = field(default_factory=ResourceRequest)
    autoscaler: AutoscalerSettings = field(default_factory=AutoscalerSettings)
    concurrency: Concurrency = field(default_factory=Concurrency)
    timeout: timedelta = timedelta(seconds=300)
    startup_timeout: timedelta = timedelta(seconds=300)
    block_network: bool = False
    web: WebKind = WebKind.NONE
    needs_client_dependencies: bool = False
    untrusted: bool = False
    single_use: bool = False
    is_server: bool = False  # @app.server: has no inputs, only web requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One version of a function's code and settings; never changed. `payload` is the serialized modal `Function` message."""

    id: DefinitionId
    function_id: FunctionId
    payload: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    id: FunctionId
    app_id: AppId
    tag: str  # `f`, or `Name.*` for a class
    live_definition_id: DefinitionId | None = None
    base_id: FunctionId | None = None  # set on bound functions
    serialized_params: bytes = b""  # bound constructor parameters, as the client sent them
    options: bytes = b""  # bound options: a serialized `FunctionOptions`

    @property
    def is_bound(self) -> bool:
        return self.base_id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserClass:
    id: ClassId
    app_id: AppId
    tag: str
    payload: bytes  # serialized ClassCreateRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class WebTarget:
    """The function that a host or path means. `name` is its own name (`predict`), without class or app.

    `environment_id` is where it is deployed: a scoped proxy token opens it there or not.
    """

    function_id: FunctionId
    app_id: AppId
    name: str
    kind: WebKind
    method_name: str = ""  # of a class; empty for plain functions
    needs_proxy_auth: bool = False
    environment_id: EnvironmentId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebRoute:
    """A web address, and the rules for requests to it."""

    target: WebTarget
    timeout: float = 300.0  # seconds from when a container takes the request to the end of its response
    needs_proxy_auth: bool = False
    has_sessions: bool = False  # requests of one `Modal-Session-ID` go to the same container
