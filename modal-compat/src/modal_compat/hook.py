"""Waits for the program to import modal, and then gives it its old names. Imports next to nothing: it may run at each start of a Python."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

# Modules that are waited for, each with the one here that has an `install()` for it.
_AWAITED = {"modal": "modal_compat.shim", "modal.cli.import_refs": "modal_compat.command"}


def activate() -> None:
    """From now on, for this process."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    for name in _AWAITED:
        if name in sys.modules:
            _install(sys.modules[name])


def _install(module: ModuleType) -> None:
    from importlib import import_module

    import_module(_AWAITED[module.__name__]).install(module)


class _Finder:
    """Finds nothing but what is awaited, and that only with the help of the other finders."""

    def __init__(self) -> None:
        self._is_looking = False

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in _AWAITED or self._is_looking:
            return None
        spec = self._others(name, path, target)
        if spec and spec.loader:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]  # it has all that the other has
        return spec

    def _others(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        self._is_looking = True
        try:
            found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
            return next((spec for spec in found if spec), None)
        finally:
            self._is_looking = False


class _Loader:
    """Another's, with one thing more to do when the module is there."""

    def __init__(self, stock: Any) -> None:
        self._stock = stock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stock, name)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__.loader = module.__loader__ = self._stock  # type: ignore[union-attr]  # a module that is being loaded has one
        self._stock.exec_module(module)
        _install(module)
