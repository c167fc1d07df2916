"""Who a container is, for clients that know nothing of `MODAL_OVERRIDE_HEADERS`: what it names goes with every RPC of theirs, too.

Installed by the `sitecustomize` beside such a client (`worker/bundles.py`), so in every Python of the container: not only the entrypoint
speaks to the engine, but also what the user's code starts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_CLIENT = "modal.client"
_NAMED = "MODAL_OVERRIDE_HEADERS"


def install() -> None:
    """Nothing is imported before its time: the module is changed when somebody imports it."""
    if os.environ.get(_NAMED):
        sys.meta_path.insert(0, _Watch())


class _Watch(MetaPathFinder):
    """Finds one module, once."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != _CLIENT:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            _change_when_loaded(spec.loader)
        return spec


def _change_when_loaded(loader: Any) -> None:
    load = loader.exec_module

    def exec_module(module: Any) -> None:
        load(module)
        plain = module._get_metadata
        module._get_metadata = lambda *args, **kwargs: {**plain(*args, **kwargs), **_headers()}

    loader.exec_module = exec_module


def _headers() -> dict[str, str]:
    """Read at each connection: a process may get another environment than its parent's."""
    pairs = (item.partition(":") for item in os.environ.get(_NAMED, "").split(","))
    return {name: value for name, _, value in pairs if value}
