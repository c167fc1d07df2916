"""Which trace something is in, and within which span of it, as W3C's field `traceparent` says it.

Ids follow from those of the call and its inputs, so whoever knows these knows the spans: nothing has to be remembered.
"""

import hashlib
import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceParent:
    """A span, for what happens within it."""

    trace_id: str
    span_id: str
    is_sampled: bool = True

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"


def read_traceparent(text: str) -> TraceParent | None:
    """None for what is none by the rules of W3C."""
    found = _TRACEPARENT.fullmatch(text)
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    if not int(found[2], 16) or not int(found[3], 16):
        return None
    return TraceParent(found[2], found[3], bool(int(found[4], 16) & _SAMPLED))


def trace_id(call_id: str) -> str:
    """Of the trace that begins with this call or request."""
    return digest(f"trace {call_id}", 16)


def call_span(call_id: str) -> str:
    """Of a call, or of a web request."""
    return digest(f"call {call_id}", 8)


def run_span(input_id: str, number: int = 0) -> str:
    """Of one try of an input, or of a web request in its container: the parent of what happens there."""
    return digest(f"run {input_id} {number}", 8)


def within_run(call_id: str, input_id: str, number: int, origin: TraceParent | None) -> TraceParent:
    """For what happens in one try of an input, or in the container of a web request. `origin` is what the call was made in."""
    span = run_span(input_id, number)
    return TraceParent(origin.trace_id, span, origin.is_sampled) if origin else TraceParent(trace_id(call_id), span)


def digest(text: str, size: int) -> str:
    """An id of so many bytes, in hexadecimal."""
    return hashlib.sha256(text.encode()).digest()[:size].hex()
