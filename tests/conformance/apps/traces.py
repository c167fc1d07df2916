"""Functions that call each other behind a web app. Some make spans of their own with OpenTelemetry, others say what they are told of their trace."""

import contextvars
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import modal

RECEIVER = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
app = modal.App("traces")
image = modal.Image.debian_slim().pip_install("opentelemetry-sdk==1.45.2", "opentelemetry-exporter-otlp-proto-http==1.45.2")
with_otel = {"image": image, "secrets": [modal.Secret.from_dict({"OTEL_EXPORTER_OTLP_ENDPOINT": RECEIVER})]}

with image.imports():
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("shop")


@app.function()
def double(x: int) -> int:
    return 2 * x


@app.function()
def told() -> str:
    """The field `traceparent` of what runs here, as any code can find it."""
    return next((value for variable, value in contextvars.copy_context().items() if variable.name == "traceparent"), "")


@app.function(**with_otel)
@modal.concurrent(max_inputs=4)
async def order(x: int) -> int:
    with tracer.start_as_current_span("ordering"):
        return int(await pack.remote.aio(x))


@app.function(**with_otel)
def pack(x: int) -> int:
    with tracer.start_as_current_span("packing"):
        double.spawn(x).get()
    return x


@app.function(**with_otel)
@modal.concurrent(max_inputs=4)
async def count(begin: int) -> AsyncIterator[int]:
    for number in (begin, begin + 1):
        with tracer.start_as_current_span("counting", attributes={"input": modal.current_input_id() or ""}):
            yield number


@app.function()
@modal.asgi_app()
def front() -> Callable[..., Awaitable[None]]:
    async def answer(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] != "http":
            return
        said = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        await order.remote.aio(21)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
        await send({"type": "http.response.body", "body": said})

    return answer
