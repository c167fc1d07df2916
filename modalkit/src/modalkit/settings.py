"""What `modalkit.yaml` may say, and where else the same may come from.

Sources, the first that has a value wins: arguments of `Settings(…)`; the environment (`MODALKIT_APP_SETTINGS__APP_NAME`); `.env`; the YAML
files of `MODALKIT_CONFIG` (`a.yaml,b.yaml`: later wins), else `Settings.model_config["yaml_file"]`; the files of a secrets directory
(`Settings.model_config["secrets_dir"]`). Nothing is read before `Settings()` is called.
"""

import re
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from modalkit._sources import SYNONYMS, InTodaysWords, YamlSource, explain, in_order, unknown_names
from modalkit.errors import ConfigError

__all__ = ["QueueConfig", "Settings"]


class Section(BaseModel):
    """A part of the file: unknown keys are errors, and a default is used where nothing is said."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


class BucketMount(Section):
    """One bucket."""

    bucket_name: str = Field(description="Name of the bucket.")
    bucket_endpoint_url: str | None = Field(default=None, description="Endpoint of an S3-compatible store.")
    key_prefix: str | None = Field(default=None, description="Only keys below this; ends with a slash.")
    secret: str | None = Field(default=None, description="Name of the secret with the credentials.")
    read_only: bool = Field(default=True, description="Whether containers may only read.")
    requester_pays: bool = Field(default=False, description="Whether the reader is billed.")


class DeploymentConfig(Section):
    """Where and how containers run. The model's containers take all of it; the web containers take what is theirs (`handler_…`)."""

    region: str | list[str] | None = Field(default=None, description="Region or regions to run in.")
    cloud: str | None = Field(default=None, description="Cloud provider to run on.")
    gpu: str | list[str] | None = Field(
        default=None, description="GPU of the model's containers: a type, `type:count`, or a list in order of preference."
    )
    cpu: float | tuple[float, float] | None = Field(
        default=None, description="Cores of a model's container: a request, or [request, limit]."
    )
    memory: int | tuple[int, int] | None = Field(default=None, description="MiB of a model's container: a request, or [request, limit].")
    ephemeral_disk: int | None = Field(default=None, description="MiB of disk of a model's container.", gt=0)
    max_containers: int | None = Field(
        default=None, description="Most containers of the model at a time; the guide's `concurrency_limit`.", gt=0
    )
    min_containers: int | None = Field(default=None, description="Containers kept warm; formerly `keep_warm`.", ge=0)
    buffer_containers: int | None = Field(default=None, description="Idle containers kept beside the busy ones.", ge=0)
    scaledown_window: int | None = Field(
        default=None, description="Seconds before an idle container ends; the guide's `container_idle_timeout`.", ge=2
    )
    timeout: int | None = Field(default=None, description="Seconds that one call may take.", gt=0)
    startup_timeout: int | None = Field(default=None, description="Seconds that a container may take to load its model.", gt=0)
    retries: int = Field(
        default=3, description="How often a call runs again elsewhere when its container is lost or its device is broken.", ge=0, le=10
    )
    max_inputs: int | None = Field(
        default=None, description="Calls that one container of the model runs at a time; the guide's `allow_concurrent_inputs`.", gt=0
    )
    enable_memory_snapshot: bool = Field(default=False, description="Start containers from a snapshot of their memory.")
    handler_max_inputs: int = Field(
        default=100, description="Requests that one web container serves at a time; the guide's `allow_concurrent_inputs_handler`.", gt=0
    )
    handler_max_containers: int | None = Field(default=None, description="Most web containers at a time.", gt=0)
    handler_min_containers: int | None = Field(default=None, description="Web containers kept warm.", ge=0)
    handler_cpu: float | tuple[float, float] | None = Field(default=None, description="Cores of a web container.")
    handler_memory: int | tuple[int, int] | None = Field(default=None, description="MiB of a web container.")
    handler_timeout: int | None = Field(default=None, description="Seconds that one request may take.", gt=0)
    volumes: dict[str, str] = Field(default_factory=dict, description="Mount point → name of a volume, made when it is missing.")
    volume_reload_interval_seconds: float | None = Field(
        default=None, description="Seconds between two looks for newer model files; unset, 0 or -1: never.", ge=-1
    )
    cloud_bucket_mounts: dict[str, BucketMount] = Field(default_factory=dict, description="Mount point → bucket.")
    secrets: list[str] = Field(default_factory=list, description="Names of secrets whose values become environment variables.")

    SYNONYMS: ClassVar[dict[str, str]] = SYNONYMS

    @model_validator(mode="before")
    @classmethod
    def _use_todays_words(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        both = [f"{old} and {new} say the same: keep {new}" for old, new in SYNONYMS.items() if old in given and new in given]
        if both:
            raise ValueError("; ".join(both))
        return {SYNONYMS.get(key, key): value for key, value in given.items()}


class BuildConfig(Section):
    """The image of all containers of the app."""

    image: str | None = Field(default=None, description="Base image of a registry; unset: Debian with `python_version`.")
    tag: str = Field(default="latest", description="Tag of `image`, where that has neither tag nor digest.")
    python_version: str | None = Field(default=None, description="Python of the image; unset: this machine's.")
    apt_packages: list[str] = Field(default_factory=list, description="Debian packages.")
    pip_packages: list[str] = Field(default_factory=list, description="Python packages, as pip writes them.")
    requirements: str | None = Field(default=None, description="A requirements file, relative to the YAML file.")
    extra_run_commands: str | list[str] = Field(default_factory=list, description="Shell commands run while the image is built.")
    env: dict[str, str] = Field(default_factory=dict, description="Environment variables of the image.")
    workdir: str | None = Field(default=None, description="Working directory of containers.")
    local_dirs: dict[str, str] = Field(
        default_factory=dict, description="Folder here, relative to the YAML file → folder in the container."
    )
    python_sources: list[str] = Field(default_factory=list, description="Local Python packages to bring along.")


class BatchConfig(Section):
    """How items are gathered."""

    max_batch_size: int = Field(default=1, description="Most items that the model is given at once.", ge=1, le=1000)
    wait_ms: int = Field(default=1000, description="Longest time in milliseconds that an item waits for others.", ge=0, le=600_000)


class WebConfig(Section):
    """The HTTP side."""

    max_body_bytes: int = Field(default=10 * 2**20, description="Largest body of a request, in bytes.", gt=0)
    max_waiting: int = Field(default=1000, description="Most requests that wait in one web container; past it the answer is 503.", gt=0)
    request_timeout: float = Field(default=300, description="Seconds before a request is answered with 504.", gt=0)
    max_items: int = Field(default=1000, description="Most items of one `/predict_batch`.", gt=0)
    ready_timeout: float = Field(default=60, description="Seconds that `/health/ready` waits for the model to load.", gt=0)


class RateLimit(Section):
    """How often one caller may ask. Each web container counts by itself."""

    requests: int = Field(description="Requests in `per_seconds`; as many may come at once after a pause.", gt=0)
    per_seconds: float = Field(default=1.0, description="The time that `requests` are counted for, in seconds.", gt=0, le=86_400)


class KeyConfig(Section):
    """What one API key may do, by its name. Without an entry a key may use every model."""

    models: list[str] | None = Field(default=None, description="Models that this key may use; unset: all.")
    rate_limit: RateLimit | None = Field(default=None, description="In place of `auth_config.rate_limit` for this key.")


class SsmConfig(Section):
    """API keys from AWS Systems Manager's parameter store. Credentials come from the environment, as boto3 finds them: from a Secret."""

    parameters: list[str] = Field(
        description="Names of parameters; each holds keys as `keys_variable` does, or one key alone.", min_length=1, max_length=10
    )
    region: str | None = Field(default=None, description="AWS region; unset: that of the environment.")
    endpoint_url: str | None = Field(default=None, description="Another endpoint of the service.")
    ttl_seconds: float = Field(default=300, description="Seconds after which the parameters are read again, in the background.", ge=1)


class AuthConfig(Section):
    """Who may ask."""

    kind: Literal["none", "api_key", "modal_proxy"] = Field(
        default="none",
        description="`none`: everyone. `api_key`: who sends a key. `modal_proxy`: who sends a proxy token of the platform, which checks it.",
    )
    header: str = Field(
        default="x-api-key",
        description="Header with the API key; `Authorization: Bearer` is taken too.",
        pattern="^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
    )
    keys_variable: str = Field(
        default="MODALKIT_API_KEYS", description="Environment variable with the API keys; put it into a Secret.", min_length=1
    )
    ssm: SsmConfig | None = Field(default=None, description="Where else API keys come from.")
    keys: dict[str, KeyConfig] = Field(default_factory=dict, description="Name of an API key → what it may do.")
    rate_limit: RateLimit | None = Field(
        default=None, description="For each API key, or each address where there are none; unset: no bound."
    )
    open_paths: list[str] = Field(
        default_factory=list,
        description="Paths that need no API key, such as `/metrics` and `/models`. `/health…` needs one only where a model is named.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if stray := [path for path in self.open_paths if not path.startswith("/")]:
            msg = f"open_paths: {', '.join(stray)}: a path begins with /"
            raise ValueError(msg)
        if self.kind != "api_key" and (self.ssm or self.keys):
            msg = f"ssm and keys are for kind: api_key, not for {self.kind}"
            raise ValueError(msg)
        return self


ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")


class ObservabilityConfig(Section):
    """Traces and metrics by OpenTelemetry. Off unless there is an endpoint, here or in `OTEL_EXPORTER_OTLP_ENDPOINT` of the containers."""

    enabled: bool | None = Field(
        default=None, description="`false`: never. `true`: the endpoint comes from a Secret. Unset: where an endpoint is known."
    )
    endpoint: str | None = Field(
        default=None, description="Address of an OTLP/HTTP receiver, without `/v1/…`; unset: `OTEL_EXPORTER_OTLP_ENDPOINT`."
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="Headers for the receiver. Those that are secret belong in `OTEL_EXPORTER_OTLP_HEADERS` of a Secret.",
    )
    service_name: str | None = Field(default=None, description="Name of the service; unset: `OTEL_SERVICE_NAME`, else the app's name.")
    sample_ratio: float | None = Field(
        default=None,
        description="Share of traces that are kept, of those that begin here; unset: `OTEL_TRACES_SAMPLER`, else all.",
        ge=0,
        le=1,
    )
    traces: bool = Field(default=True, description="Whether traces are sent.")
    metrics: bool = Field(default=True, description="Whether metrics are sent.")


class JobsConfig(Section):
    """Jobs: what `/predict_async` and `async_call` begin."""

    result_ttl_seconds: int = Field(
        default=604_800,
        description="Seconds that a job's result is shown after its end; the engine keeps it for seven days.",
        gt=0,
        le=604_800,
    )
    max_wait_seconds: float = Field(default=60, description="Longest that `GET /jobs/{id}?wait=` waits, in seconds.", ge=0)
    idempotency_ttl_seconds: int = Field(default=86_400, description="Seconds that an `Idempotency-Key` is remembered.", gt=0)
    idempotency_keys: int = Field(default=10_000, description="Most keys that one web container remembers; the oldest leave.", gt=0)
    idempotency_url: str = Field(
        default="", description="Redis that remembers keys for all web containers (`redis://…`); unset: each remembers its own."
    )
    webhook_secret_variable: str = Field(
        default="MODALKIT_WEBHOOK_SECRET",
        description="Environment variable with the secret (`whsec_…`) that webhooks are signed with; several, separated by spaces, all sign.",
    )
    webhook_allow_private: bool = Field(
        default=False, description="Whether webhooks may go to addresses that are not public, such as 10.0.0.1 or localhost."
    )
    webhook_timeout_seconds: float = Field(default=5, description="Seconds that one try of a webhook may take.", gt=0)
    delivery_hold_seconds: float = Field(
        default=1,
        description="Longest that a batch waits for the deliveries of its jobs, in seconds; what takes longer goes on beside the next batches.",
        ge=0,
        le=300,
    )
    delivery_deadline_seconds: float = Field(
        default=60, description="Seconds that one delivery may take, tries again and its wait for others included.", gt=0, le=300
    )
    delivery_attempts: int = Field(default=8, description="Most tries of one delivery.", ge=1, le=20)


class QueueConfig(Section):
    """Queues that take the results of jobs."""

    backend: str = Field(
        default="",
        description="`memory`, `sqs`, `redis`, `taskiq`, a name given to `register_backend`, or `package.module:factory`; unset: no queues.",
    )
    url: str = Field(default="", description="Server of `redis` and `taskiq`: `redis://…` or `rediss://…`.")
    region: str = Field(default="", description="AWS region of `sqs`; unset: as boto3 finds it.")
    endpoint_url: str = Field(default="", description="Another endpoint for `sqs`, such as a local one.")
    success_queue: str = Field(default="", description="Where results of jobs go that name no `success_queue`.")
    failure_queue: str = Field(default="", description="Where failures of jobs go that name no `failure_queue`.")
    allowed_queues: list[str] = Field(
        default_factory=list, description='Queues that jobs may name besides `success_queue` and `failure_queue`; `"*"` among them: any.'
    )
    timeout_seconds: float = Field(default=5, description="Seconds that one try to send may take.", gt=0)
    max_length: int = Field(default=1_000_000, description="Messages that a Redis stream or a memory queue keeps; the oldest leave.", gt=0)
    taskiq_broker: str = Field(
        default="", description="Your own TaskIQ broker, as `package.module:broker`; unset: `taskiq_redis.RedisStreamBroker` at `url`."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="For back-ends of your own.")

    @property
    def nameable(self) -> list[str] | None:
        """The queues that a job may name; None: any. An app that takes any lets its callers write wherever its credentials may."""
        if not self.backend:
            return []
        if "*" in self.allowed_queues:
            return None
        return list(dict.fromkeys(filter(None, (self.success_queue, self.failure_queue, *self.allowed_queues))))


class AppSettings(Section):
    """The app and its containers."""

    app_name: str = Field(default="", description="Name of the app; unset: the name of the folder with the YAML file.")
    deployment_config: DeploymentConfig = Field(default_factory=DeploymentConfig)
    build_config: BuildConfig = Field(default_factory=BuildConfig)
    batch_config: BatchConfig = Field(default_factory=BatchConfig)
    web_config: WebConfig = Field(default_factory=WebConfig)
    auth_config: AuthConfig = Field(default_factory=AuthConfig)
    observability_config: ObservabilityConfig = Field(default_factory=ObservabilityConfig)
    jobs_config: JobsConfig = Field(default_factory=JobsConfig)
    queue_config: QueueConfig = Field(default_factory=QueueConfig)


class ModelSettings(Section):
    """The models."""

    local_model_repository_folder: str = Field(default="models", description="Folder of the model files in the container.")
    common: dict[str, Any] = Field(default_factory=dict, description="Given to every model as `common_settings`.")
    model_entries: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Name of a model → its own keyword arguments.")
    share_containers: bool = Field(
        default=False, description="Whether all models live in the same containers; otherwise each has containers of its own."
    )
    memory_budget: str | int = Field(
        default=0, description="Memory for all models of one container, such as `4GiB`; 0: no bound. The least recently used leaves."
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_entries(cls, given: Any) -> Any:
        """`my_model:` without anything below it is a model without arguments of its own."""
        entries = given.get("model_entries") if isinstance(given, dict) else None
        if not isinstance(entries, dict):
            return given
        return {**given, "model_entries": {name: {} if entry is None else entry for name, entry in entries.items()}}

    @property
    def memory_budget_bytes(self) -> int:
        return parse_bytes(self.memory_budget)

    @field_validator("memory_budget")
    @classmethod
    def _check_budget(cls, given: str | int) -> str | int:
        parse_bytes(given)
        return given


class Settings(BaseSettings):
    """All settings. Raises ConfigError, which names every fault with its file and line."""

    model_config = SettingsConfigDict(
        env_prefix="MODALKIT_", env_nested_delimiter="__", env_file=".env", extra="ignore", yaml_file=None, validate_default=True
    )

    app_settings: AppSettings = Field(default_factory=AppSettings)
    model_settings: ModelSettings = Field(default_factory=ModelSettings)

    def __init__(self, **values: Any) -> None:
        source = YamlSource(type(self))
        faults = [*source.faults, *unknown_names(values, type(self))]
        try:
            super().__init__(**values)
        except ValidationError as error:
            faults += explain(error, source.documents, type(self))
        except SettingsError as error:
            faults.append(f"environment: {error}: {error.__cause__}")
        if faults:
            raise ConfigError("\n".join(in_order(faults)))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        given = map(InTodaysWords, (init_settings, env_settings, dotenv_settings))
        return *given, YamlSource(settings_cls), InTodaysWords(file_secret_settings)


_UNITS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


def parse_bytes(given: str | int) -> int:
    """Bytes of `4GiB`, `500MB` or a number. Raises ValueError."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([a-z]*)", str(given).strip().lower())
    if found is None or found[2] not in _UNITS:
        msg = f"{given!r} is no amount of memory: write for example 4GiB"
        raise ValueError(msg)
    return int(float(found[1]) * _UNITS[found[2]])
