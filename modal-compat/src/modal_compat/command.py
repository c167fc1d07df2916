"""Modal's command, which finds a program's app by its variable: `app` today."""

from __future__ import annotations

from functools import wraps
from typing import Any

from modal_compat.names import STUB_VARIABLE
from modal_compat.telling import tell


def install(refs: Any) -> None:
    """`refs` is the module of modal that imports programs."""
    stock = refs.import_file_or_module

    @wraps(stock)
    def import_file_or_module(*args: Any, **options: Any) -> Any:
        program = stock(*args, **options)
        app = getattr(program, STUB_VARIABLE.old, None)
        if isinstance(app, refs.App) and not hasattr(program, "app"):
            tell(STUB_VARIABLE)
            program.app = app
        return program

    refs.import_file_or_module = import_file_or_module
