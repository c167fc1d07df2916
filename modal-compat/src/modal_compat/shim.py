"""Puts the old names into a modal that has been imported. Each is made from what modal has today; nothing of modal's own is left out."""

from __future__ import annotations

import sys
from functools import partial, wraps
from types import ModuleType
from typing import Any, Callable

from modal_compat import decorators, gpus, methods, names
from modal_compat.filesystems import network_file_system
from modal_compat.mounts import Mount
from modal_compat.telling import OWN, tell

_MARK = "__old_names__"


def install(modal: ModuleType) -> None:
    if getattr(modal, _MARK, False) or hasattr(modal, "Mount"):
        return
    setattr(modal, _MARK, True)
    _add_attributes(modal)
    decorators.install(modal)
    methods.install(modal)
    _be_internal()


def _add_attributes(modal: Any) -> None:
    old = sys.modules["modal.gpu"] = gpus.Gpus("modal.gpu")
    stock = getattr(modal, "__getattr__", None)
    given: dict[str, Callable[[], Any]] = {
        "Mount": lambda: Mount,
        "gpu": lambda: old,
        "Stub": partial(_successor, modal, names.STUB),
        "build": lambda: partial(_build, modal),
    }

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name in given:
            return given[name]()
        if stock:
            return stock(name)
        msg = f"module 'modal' has no attribute {name!r}"
        raise AttributeError(msg)

    modal.__getattr__ = __getattr__
    modal.web_endpoint = _web_endpoint(modal)
    if hasattr(modal, "NetworkFileSystem"):
        modal.NetworkFileSystem = network_file_system(modal)


def _successor(modal: Any, name: names.OldName) -> Any:
    tell(name)
    return getattr(modal, name.successor)


def _web_endpoint(modal: Any) -> Any:
    @wraps(modal.fastapi_endpoint)
    def web_endpoint(*args: Any, **options: Any) -> Any:
        tell(names.WEB_ENDPOINT)
        if options.pop("wait_for_response", True) is False:
            tell(names.WAIT_FOR_RESPONSE)
        return modal.fastapi_endpoint(*args, **options)

    web_endpoint.__name__ = web_endpoint.__qualname__ = "web_endpoint"
    return web_endpoint


def _build(modal: Any, **_: Any) -> Callable[[Any], Any]:
    """What was run once for the image is run at each start; a method that had both decorators is run once in it."""
    tell(names.BUILD)

    def decorate(method: Any) -> Any:
        return method if isinstance(method, modal.partial_function.PartialFunction) else modal.enter()(method)

    return decorate


def _be_internal() -> None:
    """Modal's warnings name the first frame that is not its own: ours is not the program's either."""
    deprecation: Any = sys.modules.get("modal._utils.deprecation")
    internal = getattr(deprecation, "_INTERNAL_MODULES", [])
    internal.extend(module for module in OWN if module not in internal)
