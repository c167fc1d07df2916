"""Parameters that `@app.function`, `@app.cls` and their kin had, and the hooks of classes that had no decorator."""

from __future__ import annotations

from functools import wraps
from types import ModuleType
from typing import Any, Callable

from modal_compat import names
from modal_compat.filesystems import Volumes
from modal_compat.insides import inner, outer
from modal_compat.lifecycle import with_hooks
from modal_compat.mounts import with_mounts
from modal_compat.telling import tell

_MOUNTS_OF_APP = "_old_mounts"
_SPECIAL = ("mounts", "allow_concurrent_inputs", "network_file_systems")
_OLD = frozenset((*names.RENAMED, *names.DROPPED, *_SPECIAL))


def install(modal: Any) -> None:
    app = modal.App
    app.__init__ = _taking_mounts(app.__init__)
    app.function = _decorator(modal, app.function, lambda decorated: decorated)
    app.cls = _decorator(modal, app.cls, lambda decorated: with_hooks(modal, decorated))
    modal.Cls.with_options = _with_options(modal.Cls.with_options)
    modal.Image.run_function = _run_function(modal.Image.run_function)
    for name in ("asgi_app", "wsgi_app"):
        setattr(modal, name, _without_waiting(getattr(modal, name)))


def _decorator(modal: ModuleType, stock: Any, prepared: Callable[[Any], Any]) -> Any:
    """A method of App, which is given what it knows today. `prepared` is what the decorated becomes before."""

    @wraps(stock)
    def decorator(app: Any, *args: Any, **options: Any) -> Any:
        inputs = _translate(modal, app, options)
        decorate = stock(app, *args, **options)

        @wraps(decorate)
        def wrapper(decorated: Any) -> Any:
            ready = prepared(decorated)
            return decorate(modal.concurrent(max_inputs=inputs)(ready) if inputs else ready)

        return wrapper

    return decorator


def _translate(modal: Any, app: Any, options: dict[str, Any]) -> int | None:
    """Write the options in new names. The answer is what `@modal.concurrent` is to be given, if at all."""
    mounts = [*getattr(app, _MOUNTS_OF_APP, ())]
    if not mounts and _OLD.isdisjoint(options):
        return None
    _rename(options)
    mounts += _taken(options, names.MOUNTS) or ()
    if mounts:
        options["image"] = with_mounts(options.get("image") or _default_image(modal, app), mounts)
    _use_volumes(options)
    inputs: int | None = _taken(options, names.CONCURRENT_INPUTS)
    return inputs if inputs and inputs > 1 else None


def _default_image(modal: Any, app: Any) -> Any:
    """The app's, if it has one."""
    image = getattr(getattr(inner(app), "_local_state", None), "image_default", None)
    return outer(image) if image else modal.Image.debian_slim()


def _rename(options: dict[str, Any]) -> None:
    for old in names.RENAMED.keys() & options.keys():
        value = _taken(options, names.RENAMED[old])
        options[names.RENAMED[old].successor] = _new_value(names.RENAMED[old], value)
    for old in names.DROPPED.keys() & options.keys():
        _taken(options, names.DROPPED[old])


def _new_value(name: names.OldName, value: Any) -> Any:
    if name is names.IDLE_TIMEOUT and value is not None:
        return max(value, names.LEAST_WINDOW)
    return int(value) if name is names.KEEP_WARM and isinstance(value, bool) else value


def _taken(options: dict[str, Any], name: names.OldName) -> Any:
    """Its value, if it is there; the program is told, unless it is no wish at all."""
    value = options.pop(name.bare, None)
    if value is not None:
        tell(name)
    return value


def _use_volumes(options: dict[str, Any]) -> None:
    systems = options.get("network_file_systems") or {}
    volumes = {path: system.volume for path, system in systems.items() if isinstance(system, Volumes)}
    if volumes:
        tell(names.NETWORK_FILE_SYSTEMS)
        options["network_file_systems"] = {path: system for path, system in systems.items() if path not in volumes}
        options["volumes"] = {**volumes, **(options.get("volumes") or {})}


def _with_options(stock: Any) -> Any:
    @wraps(stock)
    def with_options(cls: Any, *args: Any, **options: Any) -> Any:
        if _OLD.isdisjoint(options):
            return stock(cls, *args, **options)
        _rename(options)
        inputs = _taken(options, names.CONCURRENT_INPUTS)
        changed = stock(cls, *args, **options)
        return changed.with_concurrency(max_inputs=inputs) if inputs else changed

    return with_options


def _taking_mounts(stock: Any) -> Any:
    """Of an app, whose functions all get them."""

    @wraps(stock)
    def __init__(app: Any, *args: Any, **options: Any) -> None:  # noqa: N807
        mounts = _taken(options, names.MOUNTS)
        stock(app, *args, **options)
        if mounts:
            setattr(app, _MOUNTS_OF_APP, mounts)

    return __init__


def _run_function(stock: Any) -> Any:
    """A step of a build, before which the files must be in the image."""

    @wraps(stock)
    def run_function(image: Any, *args: Any, **options: Any) -> Any:
        for mount in _taken(options, names.MOUNTS) or ():
            image = mount.onto(image, copy=True)
        _use_volumes(options)
        return stock(image, *args, **options)

    return run_function


def _without_waiting(stock: Any) -> Any:
    @wraps(stock)
    def app(*args: Any, **options: Any) -> Any:
        _taken(options, names.WAIT_FOR_RESPONSE)
        return stock(*args, **options)

    return app
