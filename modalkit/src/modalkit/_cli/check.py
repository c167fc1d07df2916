"""`modalkit check`: everything that is wrong with a configuration or an app, before anything is deployed."""

import importlib.util
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import modal

from modalkit import task_queue
from modalkit._catalogue import Catalogue, default_model, input_type
from modalkit._cli.apps import load_app
from modalkit._cli.entries import entry_faults, pipeline_faults
from modalkit._cli.files import AppError, app_file
from modalkit._cli.schema import settings_schema
from modalkit._sources import CONFIG_VARIABLE, YamlSource, config_files, in_order, nearest, variable_of
from modalkit.errors import ConfigError, ModalKitError
from modalkit.settings import Settings
from modalkit.testing import in_this_process, service_classes, web_functions

_SOME_ADDRESS = "redis://localhost"  # for an address that has a password, and so is said by a Secret
YAML = (".yaml", ".yml")
# Of all routes those that ask something of the model; what has no stream is worth knowing.
PREDICTIONS = ("/predict_sync", "/predict_batch", "/predict_async", "/predict_stream", "/v2/models/{model_name}/infer")


@dataclass
class Report:
    """`found` says what is there, `faults` what is wrong with it; one line each."""

    found: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def schema_text() -> str:
    """The JSON Schema of modalkit.yaml."""
    return json.dumps(settings_schema(), indent=2)


def check(given: str) -> Report:
    """Raises ModalKitError: there is nothing to check."""
    target = _target(given)
    report = _check_yaml(target) if target.suffix in YAML else _check_app(app_file(str(target)))
    report.faults = in_order(report.faults)
    return report


def _target(given: str) -> Path:
    if given and Path(given).suffix in YAML and not Path(given).is_file():
        msg = f"There is no file {given}."
        raise ModalKitError(msg)
    for name in [given] if given else ["app.py", "modalkit.yaml"]:
        if given or Path(name).is_file():
            return Path(name)
    msg = "There is neither app.py nor modalkit.yaml here. Name what to check, or make a service with `modalkit new NAME`."
    raise ModalKitError(msg)


def _check_yaml(path: Path) -> Report:
    os.environ.pop(CONFIG_VARIABLE, None)  # this file is asked about, not those
    Settings.model_config["yaml_file"] = path
    sys.path.insert(0, str(path.resolve().parent))
    try:
        settings = Settings()
    except ConfigError as error:
        return Report(faults=str(error).splitlines() + _unknown_variables())
    entries = settings.model_settings.model_entries
    found = [f"{path}: {_counted(len(entries), 'model')}{_named(entries)}, {_batches(settings)}"]
    return Report(found, _unknown_variables() + _missing_files(settings) + _queue_faults(settings))


def _check_app(path: Path) -> Report:
    try:
        module = load_app(path)
    except ConfigError as error:
        return Report(faults=str(error).splitlines() + _unknown_variables())
    except AppError as error:
        return Report(faults=_faults_behind(error))
    report = Report(faults=_unknown_variables())
    classes = service_classes(module)
    if not classes:
        report.faults.append(f"{path}: no class of it derives from ModalService and stands under @app.cls.")
    for app_cls in classes:
        _check_class(app_cls, report)
    queues = [fault for app_cls in classes for fault in _queue_faults(app_cls.modal_utils.settings)]
    report.faults += dict.fromkeys(queues)
    if not queues:  # which the services of this process have, too
        _check_web(module, path, report)
    return report


def _faults_behind(error: AppError) -> list[str]:
    """What the app stumbled over: files that its configuration names and that are not there, else what it raised."""
    try:
        missing = _missing_files(Settings())
    except ConfigError:
        missing = []
    return missing or [str(error)]


def _check_class(app_cls: Any, report: Report) -> None:
    settings, pipeline = app_cls.modal_utils.settings, app_cls.inference_implementation
    catalogue = Catalogue(app_cls, settings)
    default = f", {catalogue.default!r} unless said otherwise" if len(catalogue.names) > 1 else ""
    report.found.append(
        f"{app_cls.user_class.__name__} of {app_cls.modal_utils.app_name!r} runs {_name_of(pipeline)}: "
        f"{_counted(len(catalogue.names), 'model')}{_named(catalogue.names)}{default}, {_batches(settings)}"
    )
    if (auth := settings.app_settings.auth_config).kind != "none":
        report.found.append(f"asks for: {auth.kind}")
    _stand_in_for_keys(settings)
    report.found += _containers(settings, is_shared=catalogue.is_shared, models=len(catalogue.names))
    report.faults += pipeline_faults(pipeline) + _default_fault(app_cls, settings) + _missing_files(settings)
    for name, entry in settings.model_settings.model_entries.items():
        report.faults += entry_faults(pipeline, name, entry, YamlSource(Settings).documents)


def _default_fault(app_cls: Any, settings: Settings) -> list[str]:
    default, entries = default_model(app_cls), settings.model_settings.model_entries
    if not entries or default in entries:
        return []
    where = next((each.where(("model_settings", "model_entries")) for each in reversed(YamlSource(Settings).documents)), "model_settings")
    said = (
        f"model_name of {app_cls.user_class.__name__} is {default!r} by default"
        if default
        else f"{app_cls.user_class.__name__} has no model_name with a default"
    )
    return [f"{where}: {said}, and no entry has that name{nearest(default, entries)}"]


def _stand_in_for_keys(settings: Settings) -> None:
    """API keys that only a Secret knows are no fault of the app: here a key stands for them that nobody has."""
    auth = settings.app_settings.auth_config
    if auth.kind == "api_key" and settings.app_settings.deployment_config.secrets:
        os.environ.setdefault(auth.keys_variable, f"nobody:sha256:{'0' * 64}")


def _check_web(module: ModuleType, path: Path, report: Report) -> None:
    with in_this_process(module):
        for name, function in web_functions(module).items():
            try:
                app = function.local()
                document = app.openapi()
            except Exception as error:  # noqa: BLE001  # whatever it is, it would be so in the container
                why = str(error) if isinstance(error, ModalKitError) else f"{type(error).__name__}: {error}"
                report.faults.append(f"{path}: {name}() cannot make its web app: {why}")
                continue
            routes = ", ".join(route for route in PREDICTIONS if route in document["paths"])
            report.found.append(f"{name}: {_models_of(app)}{routes}")
            report.faults += _model_faults(app, name, path, module)
    functions = [name for name, each in vars(module).items() if isinstance(each, modal.Function) and name not in web_functions(module)]
    if functions:
        report.found.append(f"functions: {', '.join(functions)}")


def _models_of(app: Any) -> str:
    models = getattr(app.state, "models", None)
    return f"{_name_of(models[0])} → {_name_of(models[1])}; " if models else ""


def _model_faults(app: Any, name: str, path: Path, module: ModuleType) -> list[str]:
    """Input and output models that cannot be what the app means."""
    input_model, output_model = getattr(app.state, "models", (None, None))
    faults = [
        f"{path}: {name}() has {_name_of(model)} without the type of its message: write {_name_of(model)}[…]"
        for model in (input_model, output_model)
        if getattr(model, "__pydantic_generic_metadata__", {}).get("parameters")
    ]
    for app_cls in service_classes(module) if len(service_classes(module)) == 1 else []:
        taken = input_type(app_cls)
        if isinstance(taken, type) and isinstance(input_model, type) and not issubclass(input_model, taken):
            pipeline = _name_of(app_cls.inference_implementation)
            faults.append(f"{path}: {name}() takes {_name_of(input_model)}, and {pipeline} a list of {_name_of(taken)}")
    return faults


def _missing_files(settings: Settings) -> list[str]:
    """What `build_config` names of this machine and is not there."""
    build, folder = settings.app_settings.build_config, _folder()
    at = ("app_settings", "build_config")
    faults = []
    if build.requirements and not (folder / build.requirements).is_file():
        faults.append(f"{_place((*at, 'requirements'))}: there is no file {build.requirements!r} in {folder}")
    faults += [
        f"{_place((*at, 'local_dirs', source))}: there is no folder {source!r} in {folder}"
        for source in build.local_dirs
        if not (folder / source).is_dir()
    ]
    return faults + [
        f"{_place((*at, 'python_sources', index))}: there is no Python module {source!r} here"
        for index, source in enumerate(build.python_sources)
        if not _is_importable(source)
    ]


def _queue_faults(settings: Settings) -> list[str]:
    """Why the model's container could not make its queue."""
    config = settings.app_settings
    if config.deployment_config.secrets and not config.queue_config.url:
        config = config.model_copy(update={"queue_config": config.queue_config.model_copy(update={"url": _SOME_ADDRESS})})
    try:
        task_queue.check(config.queue_config)
    except ConfigError as error:
        return [f"{_place(('app_settings', 'queue_config', 'backend'))}: {error}"]
    return []


def _folder() -> Path:
    """What relative paths of the configuration are relative to."""
    files = config_files(Settings)
    return files[0].resolve().parent if files else Path.cwd()


def _is_importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _place(loc: tuple[str | int, ...]) -> str:
    documents = [each for each in reversed(YamlSource(Settings).documents) if each.has(loc)]
    return documents[0].where(loc) if documents else ".".join(map(str, loc))


def _unknown_variables() -> list[str]:
    """Environment variables that look like settings and are none: they would be passed over in silence."""
    prefix = str(Settings.model_config["env_prefix"])
    known = {variable_of((name,), Settings): name for name in Settings.model_fields}
    suspects = [name for name in os.environ if name.upper().startswith(prefix) and "__" in name]
    return [
        f"environment: {name} is no setting{nearest(name.upper().partition('__')[0], known)}"
        for name in sorted(suspects)
        if name.upper().partition("__")[0] not in known
    ]


def _batches(settings: Settings) -> str:
    batch = settings.app_settings.batch_config
    return (
        f"batches of {batch.max_batch_size} (an item waits at most {batch.wait_ms} ms)"
        if batch.max_batch_size > 1
        else "one item at a time"
    )


def _containers(settings: Settings, *, is_shared: bool, models: int) -> list[str]:
    config = settings.app_settings.deployment_config
    parts = [
        f"at most {config.max_containers}{' a model' if models > 1 and not is_shared else ''}" if config.max_containers else "",
        f"{config.min_containers} kept warm" if config.min_containers else "",
        str(config.gpu) if config.gpu else "",
        f"{config.scaledown_window} s idle" if config.scaledown_window else "",
        "all models in each" if is_shared else "",
    ]
    said = ", ".join(part for part in parts if part)
    return [f"containers: {said}"] if said else []


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _named(names: Any) -> str:
    shown = list(names)[:5]
    return f" ({', '.join(shown)}{', …' if len(list(names)) > len(shown) else ''})" if shown else ""


def _name_of(model: Any) -> str:
    return getattr(model, "__name__", None) or str(model)
