"""What containers say of themselves on the socket of `freehold.container.frames`, as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import InputId, TaskId

_LONGEST_WORDS = 1000  # characters


@dataclass(frozen=True, slots=True)
class Greeting:
    task_id: TaskId
    token: str
    held: Mapping[InputId, int]  # attempts of the inputs that the container has in hand


def read_greeting(payload: bytes) -> Greeting | None:
    try:
        said = json.loads(payload)
        return Greeting(TaskId(str(said["task"])), str(said["token"]), {InputId(name): int(said["held"][name]) for name in said["held"]})
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def read_offer(payload: bytes) -> tuple[str, str]:
    """Where the container listens, or why it serves no web requests itself."""
    try:
        said = json.loads(payload)
        return str(said["address"])[:_LONGEST_WORDS], str(said["why_not"])[:_LONGEST_WORDS]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRequest(repr(error)) from error
