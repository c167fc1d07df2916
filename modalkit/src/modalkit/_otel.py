"""OpenTelemetry itself. Imported only where traces or metrics are sent: see `_telemetry`."""

import atexit
import os
import socket
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, NoOpTracer, SpanContext, SpanKind, Status, StatusCode, Tracer

import modalkit
from modalkit._otel_meters import Meters, known_method
from modalkit._parcels import Failure, Outcome
from modalkit._spans import Span
from modalkit.errors import InferenceError, Problem
from modalkit.settings import ObservabilityConfig

MOST_LINKS = 2048  # of one batch; the SDK's 128 would forget most items of a large one
_NOTHING = Context()


class Otel:
    """What one process sends. The tracer provider becomes the process's own, so that spans of users' code are in these traces too."""

    def __init__(self, config: ObservabilityConfig, service_name: str) -> None:
        resource = _resource(config, service_name)
        self._provider = _tracer_provider(config, resource) if config.traces else None
        self.meters = Meters(config, resource) if config.metrics else None
        self._tracer: Tracer = NoOpTracer()
        self._is_flushing = False
        if self._provider is not None:
            self._tracer = self._provider.get_tracer("modalkit", modalkit.__version__)
            _offer_to_others(self._provider)
        atexit.register(self._at_exit)

    def span(self, name: str, attributes: Mapping[str, Any]) -> AbstractContextManager[Any]:
        return self._tracer.start_as_current_span(name, attributes=dict(attributes))

    @contextmanager
    def request_span(self, scope: Mapping[str, Any]) -> Iterator["_Request"]:
        parent = propagate.extract(_headers(scope), context=_NOTHING)
        method = known_method(scope["method"])
        attributes = {"http.request.method": method, "url.path": _shown(scope["path"]), "url.scheme": scope.get("scheme", "http")}
        with self._tracer.start_as_current_span(method, parent, SpanKind.SERVER, attributes) as span:
            try:
                yield _Request(span)
            finally:
                if route := getattr(scope.get("route"), "path", ""):
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)

    @contextmanager
    def call_span(self, model: str) -> Iterator["_Call"]:
        with self._tracer.start_as_current_span("modalkit.call", kind=SpanKind.CLIENT, attributes={"modalkit.model": model}) as span:
            yield _Call(span)

    @contextmanager
    def batch_span(self, model: str, carriers: Sequence[dict[str, str]]) -> Iterator["_Batch"]:
        batch = _Batch(self._tracer, model, [propagate.extract(carrier, context=_NOTHING) for carrier in carriers])
        with trace.use_span(batch.span, end_on_exit=True):
            try:
                yield batch
            except InferenceError as error:
                batch.failed(error.problem)
                raise

    @contextmanager
    def stream_span(self, model: str, carrier: dict[str, str]) -> Iterator[None]:
        """Not the current span: whoever runs between two pieces is not in it."""
        parent = propagate.extract(carrier, context=_NOTHING)
        span = self._tracer.start_span("modalkit.stream", parent, SpanKind.SERVER, {"modalkit.model": model})
        try:
            yield
        except Exception as error:
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, str(error)))
            raise
        finally:
            span.end()

    @contextmanager
    def delivery_span(self, kind: str, place: str, carrier: dict[str, str]) -> Iterator["_Delivery"]:
        attributes = {"modalkit.delivery.to": kind, "server.address" if kind == "webhook" else "messaging.destination.name": place}
        parent = propagate.extract(carrier, context=_NOTHING)
        with self._tracer.start_as_current_span("modalkit.delivery", parent, SpanKind.PRODUCER, attributes) as span:
            yield _Delivery(span)

    def annotate(self, name: str, value: str) -> None:
        trace.get_current_span().set_attribute(name, value)

    def carrier(self) -> dict[str, str]:
        carried: dict[str, str] = {}
        propagate.inject(carried)
        return carried

    def flush(self) -> None:
        """Sends what is not sent yet; returns when all of it was taken, or given up."""
        self._is_flushing = True
        if self._provider is not None:
            self._provider.force_flush()
        if self.meters is not None:
            self.meters.flush()
        self._is_flushing = False

    def _at_exit(self) -> None:
        if not self._is_flushing:  # a receiver that has not answered so far will not in the process's last moments
            self.flush()

    def shutdown(self) -> None:
        atexit.unregister(self._at_exit)
        if self._provider is not None:
            self._provider.shutdown()
        if self.meters is not None:
            self.meters.shutdown()


class _Request(Span):
    """One HTTP request. Its answer says where its trace is, as the W3C drafts it for answers: `traceresponse`."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def answered(self, start: MutableMapping[str, Any]) -> None:
        status, here = start["status"], self._span.get_span_context()
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:  # noqa: PLR2004
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(StatusCode.ERROR)
        if here.is_valid:
            told = f"00-{trace.format_trace_id(here.trace_id)}-{trace.format_span_id(here.span_id)}-{here.trace_flags:02x}"
            start["headers"] = [*start.get("headers", ()), (b"traceresponse", told.encode())]


class _Call(Span):
    """One item, seen by who waits for it."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            _note(self._span, outcome)


class _Delivery(Span):
    """One end of a job on its way."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def delivered(self, *, is_delivered: bool, attempts: int, detail: str) -> None:
        self._span.set_attribute("modalkit.delivery.attempts", attempts)
        if not is_delivered:
            self._span.set_status(Status(StatusCode.ERROR, detail))


class _Batch(Span):
    """One engine batch; of several items each has a span of its own in its own trace, over the same time."""

    def __init__(self, tracer: Tracer, model: str, calls: Sequence[Context]) -> None:
        self._tracer = tracer
        self._model = model
        self._calls = calls
        self._began = time.time_ns()
        links = [Link(call) for call in map(_span_context, calls) if call.is_valid]
        parent = calls[0] if len(calls) == 1 else _NOTHING
        attributes: dict[str, str | int] = {"modalkit.model": model, "modalkit.batch.items": len(calls)}
        self.span = tracer.start_span("modalkit.batch", parent, SpanKind.CONSUMER, attributes, links, self._began)

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        if len(self._calls) == 1:
            _note(self.span, outcomes[0])
            return
        here, ended = [Link(self.span.get_span_context())], time.time_ns()
        for position, (call, outcome) in enumerate(zip(self._calls, outcomes, strict=True)):
            if _span_context(call).trace_flags.sampled:
                attributes: dict[str, str | int] = {
                    "modalkit.model": self._model,
                    "modalkit.batch.items": len(self._calls),
                    "modalkit.batch.position": position,
                }
                span = self._tracer.start_span("modalkit.item", call, SpanKind.CONSUMER, attributes, here, self._began)
                _note(span, outcome)
                span.end(ended)

    def failed(self, problem: Problem) -> None:
        self.ended([Failure(problem)] * len(self._calls))


class _LinkSampler(Sampler):
    """Keeps a batch when a request in it is kept; all else as `otherwise` says."""

    def __init__(self, otherwise: Sampler) -> None:
        self._otherwise = otherwise

    def should_sample(  # noqa: PLR0917  # the SDK calls it so
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        if links and not trace.get_current_span(parent_context).get_span_context().is_valid:
            is_kept = any(link.context.trace_flags.sampled for link in links)
            return SamplingResult(Decision.RECORD_AND_SAMPLE if is_kept else Decision.DROP, attributes)
        return self._otherwise.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"Linked({self._otherwise.get_description()})"


def _note(span: trace.Span, outcome: Outcome) -> None:
    """An item's problem is the span's; an error only where the service is at fault."""
    if isinstance(outcome, Failure):
        span.set_attribute("error.type", outcome.problem.kind)
        if outcome.problem.error_id:
            span.set_attribute("modalkit.error_id", outcome.problem.error_id)
        if outcome.problem.status >= 500:  # noqa: PLR2004
            span.set_status(Status(StatusCode.ERROR, outcome.problem.detail))


def _tracer_provider(config: ObservabilityConfig, resource: Resource) -> TracerProvider:
    sampler = None if config.sample_ratio is None else ParentBased(TraceIdRatioBased(config.sample_ratio))
    limits = SpanLimits() if os.environ.get("OTEL_SPAN_LINK_COUNT_LIMIT") else SpanLimits(max_links=MOST_LINKS)
    provider = TracerProvider(sampler, resource, shutdown_on_exit=False, span_limits=limits)
    provider.sampler = _LinkSampler(provider.sampler)
    endpoint = f"{config.endpoint.rstrip('/')}/v1/traces" if config.endpoint else None
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint, headers=config.headers or None)))
    return provider


def _offer_to_others(provider: TracerProvider) -> None:
    """Spans of users' code go the same way, unless the process has a provider of its own already."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)


def _resource(config: ObservabilityConfig, service_name: str) -> Resource:
    name = config.service_name or os.environ.get("OTEL_SERVICE_NAME") or _named_resource() or service_name
    instance = os.environ.get("MODAL_TASK_ID") or f"{socket.gethostname()}-{os.getpid()}"
    attributes = {"service.name": name, "service.instance.id": instance}
    if region := os.environ.get("MODAL_REGION"):
        attributes["cloud.region"] = region
    return Resource.create(attributes)


def _named_resource() -> str:
    pairs = (pair.partition("=") for pair in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
    return next((value.strip() for name, _, value in pairs if name.strip() == "service.name"), "")


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    """What was sent in several lines is one, as HTTP has it."""
    headers: dict[str, str] = {}
    for key, value in scope["headers"]:
        name, text = key.decode("latin-1"), value.decode("latin-1")
        headers[name] = f"{headers[name]},{text}" if name in headers else text
    return headers


def _shown(path: str) -> str:
    """A path without the signature of a job's id, by which one may see and cancel the job."""
    head, found, job_id = path.rpartition("/jobs/")
    return f"{head}{found}{job_id.partition('.')[0]}" if found else path


def _span_context(call: Context) -> SpanContext:
    return trace.get_current_span(call).get_span_context()
