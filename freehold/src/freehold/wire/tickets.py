"""What a client holds of a synchronous call (`function_call_jwt`, `input_jwt`) and shows again when it retries.

A ticket says enough to make the call anew in an engine that does not know it: one that was restarted while the client waited. It is an
unsigned JSON web token, because the client looks into it for `idx`. Nothing in it is secret or a right: whoever shows it could have made
the call in the first place.
"""

import base64
import json
from binascii import Error as Base64Error
from dataclasses import dataclass
from typing import Any, Self

from freehold.domain.calls import CallKind
from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import CallId, FunctionId, InputId, is_id

_MOST = 2**31 - 1  # numbers travel as int32
_LONGEST = 2000  # characters
_HEADER = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class CallTicket:
    call_id: CallId
    function_id: FunctionId
    kind: CallKind
    parent_input_id: str = ""

    def __str__(self) -> str:
        return _token({"call": self.call_id, "function": self.function_id, "kind": self.kind.value, "parent": self.parent_input_id})

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises InvalidRequest."""
        claims = _claims(text)
        kind, parent = claims.get("kind"), str(claims.get("parent", ""))
        if kind not in set(CallKind):
            raise _unreadable(text)
        call_id, function_id = _id(claims, "call", "fc", text), _id(claims, "function", "fu", text)
        return cls(CallId(call_id), FunctionId(function_id), CallKind(kind), parent if is_id(parent, "in") else "")


@dataclass(frozen=True, slots=True)
class InputTicket:
    call_id: CallId
    input_id: InputId
    idx: int
    attempt: int

    def __str__(self) -> str:
        return _token({"call": self.call_id, "input": self.input_id, "idx": self.idx, "attempt": self.attempt})

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises InvalidRequest."""
        claims = _claims(text)
        call_id, input_id = _id(claims, "call", "fc", text), _id(claims, "input", "in", text)
        return cls(CallId(call_id), InputId(input_id), _number(claims, "idx", text), _number(claims, "attempt", text))


def _token(claims: dict[str, Any]) -> str:
    return f"{_HEADER}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}."


def _claims(text: str) -> dict[str, Any]:
    parts = text.split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "==")) if len(text) <= _LONGEST else None
    except (IndexError, Base64Error, ValueError) as error:
        raise _unreadable(text) from error
    if not isinstance(claims, dict):
        raise _unreadable(text)
    return claims


def _id(claims: dict[str, Any], name: str, prefix: str, text: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not is_id(value, prefix):
        raise _unreadable(text)
    return value


def _number(claims: dict[str, Any], name: str, text: str) -> int:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST:
        raise _unreadable(text)
    return value


def _unreadable(text: str) -> InvalidRequest:
    return InvalidRequest(f"{text[:100]!r} is not a ticket of this engine. Call the function again.")
