"""The names of older modal SDKs on today's: each does what its successor does, and says once which that is.

`modal_compat.hook.activate()` makes it so for a program that will import modal, and `modal_compat.install(modal)` where it is imported
already. Neither changes anything for a program that uses no old name.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def install(modal: ModuleType) -> None:
    """Give this modal its old names. Does nothing the second time, or to an SDK that has them itself."""
    from modal_compat.shim import install as install_shim

    install_shim(modal)
