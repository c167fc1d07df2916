"""What modal's public objects stand for: each has an inner one, which knows more."""

from __future__ import annotations

from typing import Any


def inner(value: Any) -> Any:
    return _synchronizer()._translate_in(value)


def outer(value: Any) -> Any:
    return _synchronizer()._translate_out(value)


def _synchronizer() -> Any:
    from modal._utils.async_utils import synchronizer

    return synchronizer
