"""What goes wrong, as values that travel between containers and exceptions that a pipeline may raise.

`Problem` is the answer to one item that failed; it crosses from the model's container to the web container and becomes
`application/problem+json` (RFC 9457) there. The exceptions are for people: configuration that cannot be used, a request refused.
"""

import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

__all__ = ["ConfigError", "DeviceFaultError", "InferenceError", "ModalKitError", "Problem", "QueueRefusedError"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one item has no output. `status` is an HTTP status, `kind` a stable word for programs, `error_id` is in the container's log."""

    status: int
    detail: str
    kind: str = "error"
    error_id: str = ""
    retry_after: float | None = None  # seconds
    extra: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """RFC 9457: type, title, status, detail, and this project's kind, error_id and extras."""
        body: dict[str, Any] = {
            "type": f"urn:modalkit:{self.kind}",
            "title": _title(self.status),
            "status": self.status,
            "detail": self.detail,
        }
        if self.error_id:
            body["error_id"] = self.error_id
        return body | self.extra


class ModalKitError(Exception):
    """Anything that this package raises on purpose."""


class ConfigError(ModalKitError):
    """A configuration that cannot be used; each line of the message names file, line and what to write instead."""


class InferenceError(ModalKitError):
    """Raised by a pipeline to answer one item with a status of its own choice; raised by `sync_call` for an item that failed."""

    def __init__(self, detail: str, *, status: int = 500, kind: str = "inference_failed", error_id: str = "") -> None:
        super().__init__(detail)
        self.problem = Problem(status=status, detail=detail, kind=kind, error_id=error_id)

    @classmethod
    def of(cls, problem: Problem) -> "InferenceError":
        error = cls(problem.detail)
        error.problem = problem
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        return InferenceError.of, (self.problem,)


class DeviceFaultError(ModalKitError):
    """The device of this container is broken; it takes no more inputs, and its batch runs elsewhere."""


class QueueRefusedError(ModalKitError):
    """Raised by a queue that will not take a message, however often it is sent."""


def new_error_id() -> str:
    return f"er-{uuid.uuid4().hex[:16]}"


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
