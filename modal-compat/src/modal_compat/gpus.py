"""`modal.gpu`, whose objects have become strings."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Callable

from modal_compat import names
from modal_compat.telling import tell


class Gpus(ModuleType):
    """The module: `A100(count=2, size="80GB")` is the string that `gpu=` takes."""

    def __getattr__(self, name: str) -> Callable[..., str]:
        if name in names.GPU_TYPES:
            return partial(_gpu, name)
        msg = f"module 'modal.gpu' has no attribute {name!r}"
        raise AttributeError(msg)


def _gpu(kind: str, count: int = 1, size: str | None = None) -> str:
    new = names.gpu(kind, count, size)
    tell(names.GPU, f'`gpu="{new}"`')
    return new
