"""Traces, where OpenTelemetry is installed and configured; nothing otherwise."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def span(name: str, **attributes: Any) -> Iterator[None]:
    """One step of work."""
    del name, attributes
    yield


@contextmanager
def batch_span(model: str, carriers: Sequence[dict[str, str]]) -> Iterator[None]:
    """The work on one engine batch, linked to the request of every item."""
    del model, carriers
    yield


def carrier() -> dict[str, str]:
    """The current W3C context, to travel inside an item."""
    return {}
