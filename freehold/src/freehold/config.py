"""Every setting of the engine: name, type, default and one line. Built once, handed down in parts.

Sources, later ones winning: defaults, `$FREEHOLD_HOME/config.toml`, `FREEHOLD_…` environment variables, flags of the command line.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from freehold.domain.errors import InvalidRequest
from freehold.domain.gpus import GpuFallback
from freehold.domain.seams import Transport, WebPath, Zygotes
from freehold.domain.web import Origin

_PREFIX = "FREEHOLD_"
_MIB = 1024 * 1024
_ALL_ADDRESSES = frozenset({"0.0.0.0", "::"})  # noqa: S104 — recognized, not bound


def _seconds(value: Any) -> Any:
    """A plain number is seconds, as text of the environment too."""
    return float(value) if isinstance(value, str) and value.replace(".", "", 1).isdecimal() else value


Duration = Annotated[timedelta, BeforeValidator(_seconds)]


class _ConfigFile(TomlConfigSettingsSource):
    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        if "home" in values:
            msg = "The configuration file is found by the home, so it cannot move it. Set FREEHOLD_HOME instead."
            raise InvalidRequest(msg)
        return values


class Settings(BaseSettings):
    """The engine's settings; frozen. `FREEHOLD_HOME` holds all state of one engine."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    home: Path = Field(default=Path("~/.freehold"), description="Folder of all state: database, blobs, layers, logs, key.")
    host: str = Field(default="127.0.0.1", description="Address that the control plane and the gateway bind.")
    control_port: int = Field(default=8970, ge=1, le=65535, description="Port of the control plane (gRPC).")
    gateway_port: int = Field(default=8980, ge=1, le=65535, description="Port of the gateway (HTTP).")
    workspace: str = Field(default="local", pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$", description="First part of web addresses.")
    domain: str = Field(default="localhost", description="Last part of web addresses.")
    tls: bool = Field(default=False, description="Serve web functions over HTTPS, with certificates of the home's own authority.")
    https_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port of a proxy with HTTPS in front of the gateway: printed web addresses name it. 0: there is none.",
    )
    default_max_containers: int = Field(default=16, ge=1, description="Tasks of one function where max_containers is not given.")
    max_tasks: int = Field(default=64, ge=1, description="Tasks on this machine, all functions together.")
    machine_cpus: float = Field(default=0, ge=0, description="CPUs that tasks may book here; 0: all of the machine's.")
    machine_memory_mib: int = Field(default=0, ge=0, description="Memory that tasks may book here, in MiB; 0: all of the machine's.")
    cpu_overcommit: float = Field(default=4, ge=1, description="How often the same CPU time may be booked by requests (cpu=…).")
    gpu_fallback: GpuFallback = Field(
        default=GpuFallback.REFUSE,
        description="What becomes of gpu=… that this machine has not: refuse (at deploy), or cpu (it runs on the CPU, for development).",
    )
    pretend_gpus: str = Field(
        default="",
        description="For tests: GPUs that this machine pretends to have, as in `T4, A100-80GB, A100-80GB`; containers see /dev/null as them.",
    )
    max_queued_inputs: int = Field(default=1_000_000, ge=1, description="Inputs waiting over all functions; more are refused.")
    max_waiting_requests: int = Field(
        default=10_000, ge=1, description="Web requests that wait for a container, over all functions; more are refused."
    )
    result_ttl: Duration = Field(default=timedelta(days=7), description="How long results of asynchronous calls are kept.")
    schedule_grace: Duration = Field(
        default=timedelta(hours=1),
        ge=timedelta(minutes=1),
        description="How late a schedule may still run when the engine was down at its time.",
    )
    history_ttl: timedelta = Field(default=timedelta(days=7), description="How long ended containers and events are remembered.")
    usage_ttl: timedelta = Field(
        default=timedelta(days=400), description="How long is remembered what each function used by the hour; what it cost goes by that."
    )
    metrics: bool = Field(default=True, description="Count calls, their times and containers, for /metrics and `freehold stats`.")
    metrics_ttl: Duration = Field(
        default=timedelta(days=7),
        ge=timedelta(hours=1),
        description="How long figures over time are kept: by ten seconds for an hour, by the minute for a day, by ten minutes for the rest.",
    )
    blob_cache_bytes: int = Field(default=20 * 1024 * _MIB, ge=_MIB, description="Size of the blob folder above which unused blobs go.")
    max_blob_bytes: int = Field(default=5 * 1024 * _MIB, ge=_MIB, description="Largest single blob.")
    max_inline_bytes: int = Field(default=2 * _MIB, ge=1024, description="Payloads above this travel as blobs.")
    log_bytes_per_app: int = Field(default=64 * _MIB, ge=64 * 1024, description="Log kept per app; the oldest goes first.")
    log_total_bytes: int = Field(default=2048 * _MIB, ge=_MIB, description="All logs together; the oldest lines of any go first.")
    log_ttl: timedelta = Field(default=timedelta(days=30), description="How long lines of logs are kept.")
    container_transport: Transport = Field(
        default=Transport.AUTO, description="How containers get inputs: auto (the engine's own way, where proved for the client), or stock."
    )
    web_path: WebPath = Field(
        default=WebPath.AUTO,
        description="How web requests get to containers: auto (directly, where proved for the client), or data_channel (as inputs).",
    )
    zygotes: Zygotes = Field(
        default=Zygotes.AUTO,
        description="Fork containers from a process that has imported what they need: auto (where it is safe), or off.",
    )
    zygote_memory_mib: int = Field(
        default=2048, ge=64, description="Memory that such processes may use together, in MiB; the idlest goes first."
    )
    spare_containers: int = Field(
        default=8, ge=0, description="Containers made ahead of need, at most one for each function called lately; 0: none."
    )
    pids_limit: int = Field(default=4096, ge=16, description="Processes and threads in one container.")
    heartbeat_timeout: Duration = Field(
        default=timedelta(seconds=300),
        ge=timedelta(seconds=30),
        description="Silence after which a container is taken for hung and killed.",
    )
    http_request_timeout: Duration = Field(
        default=timedelta(seconds=150), description="How long a web request may wait for a container, or for its first byte."
    )
    http_redirect_after: Duration = Field(
        default=timedelta(seconds=150), description="How long a caller waits for a response before it is asked to come back for it (303)."
    )
    http_head_timeout: Duration = Field(default=timedelta(seconds=30), description="How long the fields of a web request may take to come.")
    http_body_timeout: Duration = Field(
        default=timedelta(seconds=60), description="How long the body of a web request may make no progress."
    )
    http_max_body_bytes: int = Field(default=0, ge=0, description="Largest body of a web request; 0: any.")
    http_connections: int = Field(default=20_000, ge=1, description="Connections that the gateway keeps; more are answered 429.")
    http_connections_per_address: int = Field(
        default=512, ge=1, description="Connections of one address, except this machine's own; more are answered 429."
    )
    log_format: str = Field(default="auto", pattern="^(auto|json|console)$", description="json, console, or auto: console in a terminal.")
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$", description="Least severe level that is printed.")
    otlp_endpoint: str = Field(
        default="",
        description="Where traces are sent (OTLP over HTTP), as http://127.0.0.1:4318; empty: to what OTEL_EXPORTER_OTLP_ENDPOINT names, or nowhere.",
    )
    image_builder_version: str = Field(
        default="2025.06", description="Builder version told to clients that know it; older ones get 2024.10."
    )
    base_image_source: str = Field(
        default="auto",
        pattern="^(auto|registry|debian)$",
        description="Where base images come from: a registry, or Debian packages with a Python.",
    )
    unsafe_allow_remote: bool = Field(default=False, description="Allow binding an address that is not loopback.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags (init arguments) win over the environment, the environment over the file."""
        del dotenv_settings, file_secret_settings
        home = init_settings().get("home") or env_settings().get("home") or settings_cls.model_fields["home"].default
        return init_settings, env_settings, _ConfigFile(settings_cls, file_in(Path(home)))

    @classmethod
    def load(cls, **flags: Any) -> Self:
        """The settings from all sources. A flag that is None was not given. Raises InvalidRequest that names what to mend."""
        _check_names("environment variable", _environment(), [name_in_environment(name) for name in cls.model_fields])
        try:
            return cls(**_given(flags))
        except tomllib.TOMLDecodeError as error:
            msg = f"The configuration file is not valid TOML: {error}"
            raise InvalidRequest(msg) from error
        except ValidationError as error:
            raise InvalidRequest(_explain(error, flags)) from error

    def sources(self, **flags: Any) -> dict[str, str]:
        """Where each value comes from: a flag, an environment variable, the configuration file, or the default."""
        file = file_in(self.root)
        keys = set(tomllib.loads(file.read_text())) if file.exists() else set()
        return {name: _source(name, _given(flags), keys, file) for name in type(self).model_fields}

    @property
    def root(self) -> Path:
        return self.home.expanduser().absolute()

    @property
    def control_url(self) -> str:
        return f"http://{self.host}:{self.control_port}"

    @property
    def web_origin(self) -> Origin:
        """How web addresses are told to people."""
        if self.https_port:
            return Origin(self.https_port, is_secure=True)
        return Origin(self.gateway_port, is_secure=self.tls)

    @property
    def pages_url(self) -> str:
        """Where people's browsers find the engine's own pages."""
        if self.https_port or self.domain != "localhost":
            return self.web_origin.url(self.domain)
        host = "127.0.0.1" if self.host in _ALL_ADDRESSES else self.host
        return self.web_origin.url(f"[{host}]" if ":" in host else host)

    @property
    def gateway_url(self) -> str:
        """Where clients and containers of this machine reach the gateway; it answers plain HTTP there with TLS too."""
        return f"http://{self.host}:{self.gateway_port}"


def file_in(home: Path) -> Path:
    """The configuration file of an engine; it need not exist."""
    return home.expanduser() / "config.toml"


def name_in_environment(setting: str) -> str:
    return _PREFIX + setting.upper()


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _environment() -> list[str]:
    return [name for name, value in os.environ.items() if name.startswith(_PREFIX) and value]


def _source(setting: str, flags: Mapping[str, Any], keys: Iterable[str], file: Path) -> str:
    if setting in flags:
        return "--" + setting.replace("_", "-")
    if name_in_environment(setting) in _environment():
        return name_in_environment(setting)
    return str(file) if setting in keys else "default"


def _check_names(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise InvalidRequest(_unknown(kind, name, known))


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    advice = f"Did you mean {near[0]!r}?" if near else "`freehold config` lists the settings."
    return f"No setting is called {name!r} ({kind}). {advice}"


def _explain(error: ValidationError, flags: Mapping[str, Any]) -> str:
    """The first thing that is wrong, with the name under which the person gave it."""
    first = error.errors()[0]
    setting = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return _unknown("configuration file", setting, Settings.model_fields)
    where = _source(setting, _given(flags), [setting], Path("config.toml"))
    return f"The setting {setting} ({where}) cannot be {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}."
