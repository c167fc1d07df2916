"""What a client holds of a synchronous call (`function_call_jwt`, `input_jwt`) and shows again when it retries.

A ticket says enough to make the call anew in an engine that does not know it: one that was restarted while the client waited. Nothing in
it is secret or a right: whoever shows it could have made the call in the first place.
"""

from dataclasses import dataclass
from typing import Self

from freehold.domain.calls import CallKind
from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import CallId, FunctionId, InputId, is_id

_MOST = 2**31 - 1  # both numbers travel as int32


@dataclass(frozen=True, slots=True)
class CallTicket:
    call_id: CallId
    function_id: FunctionId
    kind: CallKind
    parent_input_id: str = ""

    def __str__(self) -> str:
        return f"{self.call_id}.{self.function_id}.{self.kind}.{self.parent_input_id}"

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises InvalidRequest."""
        call_id, function_id, kind, parent = _parts(text)
        if not is_id(call_id, "fc") or not is_id(function_id, "fu") or kind not in set(CallKind):
            raise _unreadable(text)
        return cls(CallId(call_id), FunctionId(function_id), CallKind(kind), parent if is_id(parent, "in") else "")


@dataclass(frozen=True, slots=True)
class InputTicket:
    call_id: CallId
    input_id: InputId
    idx: int
    attempt: int

    def __str__(self) -> str:
        return f"{self.call_id}.{self.input_id}.{self.idx}.{self.attempt}"

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises InvalidRequest."""
        call_id, input_id, idx, attempt = _parts(text)
        if not is_id(call_id, "fc") or not is_id(input_id, "in"):
            raise _unreadable(text)
        return cls(CallId(call_id), InputId(input_id), _number(idx, text), _number(attempt, text))


def _parts(text: str) -> list[str]:
    parts = text.split(".")
    if len(parts) != 4:  # noqa: PLR2004 — as many as both tickets have
        raise _unreadable(text)
    return parts


def _number(part: str, text: str) -> int:
    if not part.isascii() or not part.isdigit() or len(part) > 10 or int(part) > _MOST:  # noqa: PLR2004 — digits of int32
        raise _unreadable(text)
    return int(part)


def _unreadable(text: str) -> InvalidRequest:
    return InvalidRequest(f"{text[:100]!r} is not a ticket of this engine. Call the function again.")
