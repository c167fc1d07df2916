"""Seam: user code runs within the span that the engine knows it by, so that its own spans, and what it calls, are in the same trace.

While an input runs, the context variable named `traceparent` says it in the words of W3C. Where OpenTelemetry is imported when the input
begins, it is the current span there, too; nothing here imports it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, Callable

_traceparent: ContextVar[str] = ContextVar("traceparent")
_expected: dict[str, str] = {}  # of inputs that have come and not begun
_is_installed: list[bool] = []


def install() -> None:
    """Raises when this client is not as we know it; then nothing was changed."""
    from modal._runtime import execution_context

    module: Any = execution_context
    stock = module._set_current_context_ids
    if stock.__code__.co_varnames[:1] != ("input_ids",):
        raise TypeError
    module._set_current_context_ids = partial(_begin, stock)
    _is_installed.append(True)


def expect(contexts: Iterable[tuple[str, str]]) -> None:
    """Inputs have come, each with its context, which may be empty."""
    if _is_installed:
        _expected.update(contexts)


def current() -> str:
    """The user's span that is under way here, if OpenTelemetry knows one; else empty: the engine knows the input."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    with suppress(Exception):  # it may be half imported, or somebody else's of that name
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
    return ""


def _begin(stock: Any, input_ids: list[str], *rest: Any) -> Callable[[], None]:
    """Of a batch, the first input's: as modal's own ids."""
    reset = stock(input_ids, *rest)
    told = [_expected.pop(input_id, "") for input_id in input_ids] if _expected else [""]
    return _within(told[0], reset) if told[0] else reset


def _within(traceparent: str, reset: Callable[[], None]) -> Callable[[], None]:
    token = _traceparent.set(traceparent)
    detach = _attach(traceparent)

    def leave() -> None:
        if detach is not None:
            detach()
        _traceparent.reset(token)
        reset()

    return leave


def _attach(traceparent: str) -> Callable[[], object] | None:
    """Make it the current span of OpenTelemetry in this context; how to undo that, or None if nothing was done."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    context: Any = sys.modules.get("opentelemetry.context")
    if trace is None or context is None:
        return None
    try:
        _, trace_id, span_id, flags = traceparent.split("-")[:4]
        told = trace.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=trace.TraceFlags(int(flags, 16)))
        return partial(context.detach, context.attach(trace.set_span_in_context(trace.NonRecordingSpan(told))))
    except Exception:  # noqa: BLE001 — as above
        return None
