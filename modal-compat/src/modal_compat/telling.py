"""Telling a program which new name to use: once for each old one, and where it is used."""

from __future__ import annotations

import os
import sys
import warnings
from types import FrameType

from modal_compat.names import OldName

OWN = ("modal", "modal_compat", "synchronicity")  # whose frames are not the program's
_SILENT = (*OWN, "importlib")  # which looks names up in the program's stead
_told: set[str] = set()


def tell(name: OldName, new: str = "") -> None:
    """With a warning of the kind that modal has for this. Not while a container imports the app: the deploy has told it."""
    if name.old in _told or _is_imported_in_container():
        return
    _told.add(name.old)
    from modal.exception import DeprecationError

    file, line = _place()
    warnings.warn_explicit(name.warning(new), DeprecationError, file, line)


def forget() -> None:
    """Begin anew, as another program would."""
    _told.clear()


def _is_imported_in_container() -> bool:
    if os.environ.get("MODAL_IS_REMOTE") != "1":
        return False
    context = sys.modules.get("modal._runtime.execution_context")
    is_importing = getattr(context, "_in_import_context", None)
    return bool(is_importing and is_importing())


def _place() -> tuple[str, int]:
    frame: FrameType | None = sys._getframe()
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in _SILENT:
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame else ("<unknown>", 0)
