"""Function calls from other languages: what a JSON body means as arguments, and what a result is in JSON."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any

from freehold.domain.errors import InvalidRequest, NotSupported

_ENVELOPE = frozenset({"args", "kwargs", "parameters"})
_DEEPEST = 100


class NotJson(NotSupported):
    """The function returned what JSON does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)  # of the class whose method is called


class Fate(StrEnum):
    DONE = "done"
    FAILED = "function_failed"  # it raised
    TIMED_OUT = "timeout"
    CANCELLED = "cancelled"
    NOT_JSON = "not_json"
    BROKEN = "container_failed"  # no container could run it to its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a call. `content` is the result as JSON text, `raised` the type, message and traceback of an exception."""

    fate: Fate
    content: bytes = b"null"
    detail: str = ""
    raised: Mapping[str, str] = field(default_factory=dict)


def arguments_of(body: Any) -> Arguments:
    """An array is positional arguments, an object keyword arguments, unless it has only the keys `args`, `kwargs` and `parameters`."""
    if isinstance(body, list):
        return Arguments(args=tuple(body))
    if not isinstance(body, dict):
        msg = 'The body is a JSON object of keyword arguments, an array of positional ones, or {"args": […], "kwargs": {…}}.'
        raise InvalidRequest(msg)
    if not body or not body.keys() <= _ENVELOPE:
        return Arguments(kwargs=body)
    args, kwargs, parameters = body.get("args", []), body.get("kwargs", {}), body.get("parameters", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(parameters, dict):
        msg = 'In {"args": …, "kwargs": …, "parameters": …}, args is an array, the others are objects.'
        raise InvalidRequest(msg)
    return Arguments(args=tuple(args), kwargs=kwargs, parameters=parameters)


def plain(value: Any, *, most: int, bytes_as_base64: bool = False) -> Any:
    """The value as `json.dumps` takes it: datetimes become ISO 8601, bytes base64 where that is asked for.

    `most` bounds the number of values: a few bytes of CBOR that refer to each other may mean billions. Raises NotJson with the place.
    """
    return _Plain(most, bytes_as_base64=bytes_as_base64).of(value, "$", 0)


class _Plain:
    def __init__(self, most: int, *, bytes_as_base64: bool) -> None:
        self._left = most
        self._bytes_as_base64 = bytes_as_base64

    def of(self, value: Any, place: str, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST:
            msg = f"The result is nested too deep, or holds parts of itself, at {place}."
            raise NotJson(msg)
        match value:
            case None | bool() | int() | str():
                return value
            case float() if value - value == 0:
                return value
            case list() | tuple():
                return [self.of(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)]
            case Mapping():
                return {_key(key, place): self.of(item, f"{place}.{key}", depth + 1) for key, item in value.items()}
            case bytes() if self._bytes_as_base64:
                return base64.b64encode(value).decode()
            case date():  # datetimes too
                return value.isoformat()
        raise NotJson(_refusal(value, place))


def raised_of(exception: str, traceback: str) -> Mapping[str, str]:
    """Type, message and traceback of what a function raised, from its `repr` and its traceback as Python prints them."""
    found = re.match(r"[\w.]+(?=\()", exception)
    kind = found[0].rpartition(".")[2] if found else "Exception"
    last = re.split(rf"\n(?:[\w.]+\.)?{re.escape(kind)}(?:: |$)", "\n" + traceback.rstrip())
    message = last[-1] if len(last) > 1 else exception
    return {"type": kind, "message": message, "traceback": traceback}


def _key(key: Any, place: str) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    msg = f"The result has a key that is no text, at {place}: {_kind(key)}."
    raise NotJson(msg)


def _refusal(value: Any, place: str) -> str:
    match value:
        case bytes():
            return f"The result has bytes, which JSON has not, at {place}. Ask with ?bytes=base64, or return text."
        case float():
            return f"The result has {value}, which JSON has not, at {place}."
    return f"The result has a {_kind(value)}, which JSON has not, at {place}. Return numbers, text, lists and dicts."


def _kind(value: Any) -> str:
    return type(value).__name__
