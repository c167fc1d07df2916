"""From settings to what the decorators of the `modal` SDK take."""

import functools
import hashlib
import hmac
import importlib.metadata
import importlib.util
import os
import re
import secrets
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import modal
from dotenv import dotenv_values

from modalkit import _sdk, task_queue
from modalkit._sources import CONFIG_VARIABLE, config_files
from modalkit.errors import ConfigError
from modalkit.settings import ENDPOINT_VARIABLES, AppSettings, BuildConfig, DeploymentConfig, Settings

__all__ = ["ModalConfig"]

JOB_KEY_VARIABLE = "MODALKIT_JOB_KEY"
_SHIPPED = "/root/.modalkit"  # where the YAML files are in containers


class ModalConfig:
    """The configuration of one app. Settings are read when they are first asked for, not before.

    `settings` replaces `Settings()`, for tests and for apps that build their own.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._given = settings
        _sdk.teach_app()  # before the app's first decorator is looked up

    @cached_property
    def settings(self) -> Settings:
        """All settings. Raises ConfigError."""
        _ = self._files  # as they are named now: another app of this process may name others
        return self._given or Settings()

    @cached_property
    def _files(self) -> list[Path]:
        return [path.absolute() for path in config_files(Settings)]

    @cached_property
    def _folder(self) -> Path:
        """Of the first YAML file, or the current one."""
        return self._files[0].resolve().parent if self._files else Path.cwd()

    @property
    def app_name(self) -> str:
        """`app_settings.app_name`, else the name of the folder with the YAML file."""
        return self.settings.app_settings.app_name or re.sub(r"[^A-Za-z0-9._-]+", "-", self._folder.name).strip("-") or "modalkit"

    @cached_property
    def job_key(self) -> str:
        """What the ids of jobs are signed with: `MODALKIT_JOB_KEY`, else made of the deployer's token and the app's name.

        Raises ConfigError in a container without it, whose function was given other settings than this configuration's.
        """
        if given := os.environ.get(JOB_KEY_VARIABLE) or _overrides(self.app_name).get(JOB_KEY_VARIABLE):
            return given
        if not modal.is_local():
            msg = f"Jobs need {JOB_KEY_VARIABLE}: give this function get_handler_settings(), or a secret with this variable."
            raise ConfigError(msg)
        token = modal.config.config.get("token_secret") or _key_of_this_process()
        return hmac.new(token.encode(), f"modalkit jobs of {self.app_name}".encode(), hashlib.sha256).hexdigest()

    @property
    def model_folder(self) -> str:
        """The folder of the model files: relative to the YAML file here, to the working directory in a container."""
        folder = self.settings.model_settings.local_model_repository_folder
        return str(self._folder / folder) if modal.is_local() else folder

    def get_app_cls_settings(self) -> dict[str, Any]:
        """Keywords of `@app.cls` for the class that holds the model."""
        config = self._deployment
        settings = {
            **self._common(),
            "gpu": config.gpu,
            "cpu": config.cpu,
            "memory": config.memory,
            "ephemeral_disk": config.ephemeral_disk,
            "max_containers": config.max_containers,
            "min_containers": config.min_containers,
            "buffer_containers": config.buffer_containers,
            "timeout": config.timeout,
            "startup_timeout": config.startup_timeout,
            "retries": modal.Retries(max_retries=config.retries, initial_delay=0.0, backoff_coefficient=1.0) if config.retries else None,
            "enable_memory_snapshot": config.enable_memory_snapshot or None,
            "volumes": self.volumes | self.cloud_bucket_mounts,
        }
        return _sdk.with_concurrency(_sdk.accepted("cls", settings), config.max_inputs)

    def get_handler_settings(self) -> dict[str, Any]:
        """Keywords of `@app.function` for functions that take requests and call the class."""
        config = self._deployment
        settings = {
            **self._common(),
            "cpu": config.handler_cpu,
            "memory": config.handler_memory,
            "max_containers": config.handler_max_containers,
            "min_containers": config.handler_min_containers,
            "timeout": config.handler_timeout or config.timeout,
        }
        accepted = _sdk.with_concurrency(_sdk.accepted("function", settings), config.handler_max_inputs)
        return accepted | ({_sdk.PROXY_AUTH: True} if self._is_proxied else {})

    def get_asgi_app_settings(self) -> dict[str, Any]:
        """Keywords of `@modal.asgi_app`."""
        return {"requires_proxy_auth": True} if self._is_proxied else {}

    def get_batched_method_settings(self) -> dict[str, int]:
        """Keywords of `@modal.batched`: what has come goes together. Waiting for company is the web containers' part."""
        return {"max_batch_size": self.settings.app_settings.batch_config.max_batch_size, "wait_ms": 0}

    @property
    def volumes(self) -> dict[str, modal.Volume]:
        """Mount point → volume."""
        return {path: modal.Volume.from_name(name, create_if_missing=True) for path, name in self._deployment.volumes.items()}

    @property
    def cloud_bucket_mounts(self) -> dict[str, modal.CloudBucketMount]:
        """Mount point → bucket."""
        mounts = {}
        for path, mount in self._deployment.cloud_bucket_mounts.items():
            settings = mount.model_dump(exclude={"secret"}, exclude_none=True)
            secret = modal.Secret.from_name(mount.secret) if mount.secret else None
            mounts[path] = modal.CloudBucketMount(secret=secret, **settings)
        return mounts

    def reload_volumes(self) -> None:
        """In a container: brings every volume up to what others committed."""
        if not modal.is_local():
            for volume in self.volumes.values():
                volume.reload()

    def get_image(self) -> modal.Image:
        """The image of all containers: what `build_config` asks for, this package and what it needs, and the YAML files."""
        return self._image

    @cached_property
    def _image(self) -> modal.Image:
        build = self.settings.app_settings.build_config
        image = _base(build)
        if build.apt_packages:
            image = image.apt_install(*build.apt_packages)
        image = image.pip_install(*_own_requirements(self.settings), *build.pip_packages)
        if build.requirements:
            image = image.pip_install_from_requirements(str(self._folder / build.requirements))
        commands = [build.extra_run_commands] if isinstance(build.extra_run_commands, str) else build.extra_run_commands
        if commands := [command for command in commands if command.strip()]:
            image = image.run_commands(*commands)
        if build.workdir:
            image = image.workdir(build.workdir)
        image = image.env(build.env | self._shipped_variables())
        return self._with_local_files(image, build)

    def _with_local_files(self, image: modal.Image, build: BuildConfig) -> modal.Image:
        if not modal.is_local():  # a container has them
            return image
        for source, target in build.local_dirs.items():
            image = image.add_local_dir(str(self._folder / source), target)
        for path, shipped in zip(self._files, self._shipped_names(), strict=True):
            image = image.add_local_file(str(path), shipped)
        return image.add_local_python_source("modalkit", *build.python_sources)

    def _shipped_names(self) -> list[str]:
        """Where the YAML files are in containers; each has a folder of its own, since two may have one name."""
        return [f"{_SHIPPED}/{index}/{path.name}" for index, path in enumerate(self._files)]

    def _shipped_variables(self) -> dict[str, str]:
        return {CONFIG_VARIABLE: ",".join(self._shipped_names())} if modal.is_local() and self._files else {}

    def _common(self) -> dict[str, Any]:
        config = self._deployment
        # Always there, even when empty: a container must find as many objects as the deployment had.
        key = modal.Secret.from_dict(self._job_key_for_containers())  # first: a secret of the user's own may say another
        secrets = [key, *map(modal.Secret.from_name, config.secrets), modal.Secret.from_dict(_overrides(self.app_name))]
        return {
            "image": self.get_image(),
            "region": config.region,
            "cloud": config.cloud,
            "scaledown_window": config.scaledown_window,
            "secrets": secrets,
        }

    def _job_key_for_containers(self) -> dict[str, str | None]:
        return {JOB_KEY_VARIABLE: self.job_key} if modal.is_local() else {}

    @property
    def _is_proxied(self) -> bool:
        return self.settings.app_settings.auth_config.kind == "modal_proxy"

    @property
    def _deployment(self) -> DeploymentConfig:
        return self.settings.app_settings.deployment_config


@functools.cache
def _key_of_this_process() -> str:
    return secrets.token_hex(32)


def _base(build: BuildConfig) -> modal.Image:
    python = build.python_version
    if build.image:
        has_tag = "@" in build.image or ":" in build.image.rpartition("/")[2]
        return modal.Image.from_registry(build.image if has_tag else f"{build.image}:{build.tag}", add_python=python)
    return modal.Image.debian_slim(python_version=python or f"{sys.version_info.major}.{sys.version_info.minor}")


def _own_requirements(settings: Settings) -> list[str]:
    """What this package itself requires but `modal`, which every container has; with those of the extras that the settings use."""
    try:
        declared = importlib.metadata.requires("modalkit") or []
    except importlib.metadata.PackageNotFoundError:  # in a container it is source, not a distribution
        return []
    extras = {"", *used_extras(settings)}
    return sorted(name for name, extra in map(_split, declared) if extra in extras and not name.startswith("modal>"))


def used_extras(settings: Settings) -> set[str]:
    """The optional parts that these settings use."""
    app = settings.app_settings
    uses = {
        "otel": _is_watched(app),
        "ssm": app.auth_config.ssm is not None,
        "redis": bool(app.jobs_config.idempotency_url),
        task_queue.required_extra(app.queue_config): True,
    }
    return {name for name, is_used in uses.items() if name and is_used}


def _is_watched(app: AppSettings) -> bool:
    """Whether traces or metrics will be sent, as far as can be seen before there are containers."""
    watch = app.observability_config
    is_said = watch.enabled or watch.endpoint or any(app.build_config.env.get(name) for name in ENDPOINT_VARIABLES)
    return bool(is_said) and watch.enabled is not False


def _split(requirement: str) -> tuple[str, str]:
    """`redis>=5; extra == 'redis'` → the requirement and its extra."""
    name, _, marker = requirement.partition(";")
    found = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
    return name.strip(), found.group(1) if found else ""


def _overrides(app_name: str) -> dict[str, Any]:
    """What the environment and `.env` say here is said in containers too, and the name that may come from a folder here."""
    if not modal.is_local():
        return {}
    env_file = Settings.model_config.get("env_file")
    said = dotenv_values(str(env_file)) if env_file and Path(str(env_file)).exists() else {}
    prefix = str(Settings.model_config.get("env_prefix"))
    names = {f"{prefix}APP_SETTINGS__APP_NAME": app_name}
    return names | {
        key: value
        for key, value in {**said, **os.environ}.items()
        if key.upper().startswith(prefix) and key.upper() != CONFIG_VARIABLE and value is not None
    }
