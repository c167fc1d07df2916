"""What is said about work while it is done, whether or not somebody records it."""

from collections.abc import MutableMapping, Sequence
from typing import Any

from modalkit._parcels import Outcome


class Span:
    """Some work that is being done; this one is not recorded."""

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        """What the work came to: an outcome for each of its items."""

    def answered(self, start: MutableMapping[str, Any]) -> None:
        """The head of an HTTP answer, as ASGI's message, before it is sent."""

    def delivered(self, *, is_delivered: bool, attempts: int, detail: str) -> None:
        """How the delivery of a job's end went."""
