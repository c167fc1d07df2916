"""Sends traces to a receiver by OpenTelemetry (OTLP over HTTP with protobuf), where one is named; otherwise nothing of it is imported.

Which one, and with which headers, certificate, compression and timeout, say the standard variables (`OTEL_EXPORTER_OTLP_…`); the setting
`otlp_endpoint` wins over them.
"""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

import structlog

from freehold.domain.traces import Span, Trace

log = structlog.get_logger(__name__)

_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_DISABLED = "OTEL_SDK_DISABLED"
_NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_SERVICE = "freehold"


class OtlpSender:
    """`send` blocks while the receiver answers, at most as long as `OTEL_EXPORTER_OTLP_TIMEOUT` says (10 s)."""

    def __init__(self, endpoint: str, attributes: Mapping[str, str]) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource

        self._exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None)
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": _SERVICE}
        self._resource = Resource.create({**named, "service.version": version("freehold"), **attributes})

    def send(self, traces: Sequence[Trace]) -> bool:
        """Whether the receiver took them."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        spans = [_readable(trace.id, span, self._resource) for trace in traces for span in trace.spans if span.ends_at]
        return self._exporter.export(spans) is SpanExportResult.SUCCESS


def find_sender(endpoint: str, attributes: Mapping[str, str]) -> OtlpSender | None:
    """None if no receiver is named, or what is needed to send is not installed."""
    is_disabled = os.environ.get(_DISABLED, "").lower() == "true"
    if is_disabled or not (endpoint or any(os.environ.get(name) for name in _VARIABLES)):
        return None
    if not all(_is_installed(name) for name in _NEEDED):
        log.warning("traces_not_sent", reason="The OpenTelemetry SDK is not installed: pip install 'freehold[otel]'.")
        return None
    return OtlpSender(endpoint, attributes)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


def _readable(trace_id: str, span: Span, resource: Any) -> Any:
    """As the SDK would have made it."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    def context(span_id: str, *, is_remote: bool) -> SpanContext:
        flags = TraceFlags(TraceFlags.SAMPLED)
        return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=is_remote, trace_flags=flags)

    return ReadableSpan(
        name=span.name,
        context=context(span.id, is_remote=False),
        parent=context(span.parent, is_remote=span.is_server) if span.parent else None,
        resource=resource,
        attributes=dict(span.attributes),
        kind=SpanKind.SERVER if span.is_server else SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR) if span.is_error else Status(StatusCode.UNSET),
        start_time=_nanoseconds(span.begins_at),
        end_time=_nanoseconds(span.ends_at) if span.ends_at else None,
    )


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6) * 1000
