"""What is measured of a service, as OpenTelemetry's instruments. Names of HTTP's own are those of its semantic conventions."""

from collections import Counter
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

import modalkit
from modalkit._parcels import Failure, Outcome, Receipt
from modalkit.settings import ObservabilityConfig

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})


class Meters:
    """The instruments of one process. What a web container sees it measures itself; what the model does, the model's container."""

    def __init__(self, config: ObservabilityConfig, resource: Resource) -> None:
        endpoint = f"{config.endpoint.rstrip('/')}/v1/metrics" if config.endpoint else None
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint, headers=config.headers or None))
        views = [_view("*.duration", _SECONDS), _view("modalkit.queue.wait", _SECONDS), _view("modalkit.batch.items", _ITEMS)]
        self._provider = MeterProvider([reader], resource, shutdown_on_exit=False, views=views)
        meter = self._provider.get_meter("modalkit", modalkit.__version__)
        self._requests = meter.create_histogram("http.server.request.duration", "s", "Time to the answer's head")
        self._errors = meter.create_counter("modalkit.errors", "{item}", "Items answered with a problem")
        self._items = meter.create_counter("modalkit.items", "{item}", "Items that the model worked on, by what became of them")
        self._waits = meter.create_histogram("modalkit.queue.wait", "s", "Time of an item before its batch began")
        self._batches = meter.create_histogram("modalkit.batch.items", "{item}", "Items given to the model at once")
        self._work = meter.create_histogram("modalkit.batch.duration", "s", "Time of the model's three steps on one engine batch")
        self._deliveries = meter.create_histogram("modalkit.delivery.duration", "s", "Time to deliver a job's end, tries again included")
        self._loads = meter.create_histogram("modalkit.model.load.duration", "s", "Time to load a model")

    def request_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """An empty route: the path is none of this app's."""
        attributes: dict[str, str | int] = {"http.request.method": known_method(method), "http.response.status_code": status}
        if route:
            attributes["http.route"] = route
        if status >= 500:  # noqa: PLR2004
            attributes["error.type"] = str(status)
        self._requests.record(seconds, attributes)

    def item_failed(self, model: str, kind: str) -> None:
        self._errors.add(1, {"modalkit.model": model, "error.type": kind})

    def batch_done(self, model: str, receipt: Receipt, waits: Sequence[float], outcomes: Sequence[Outcome]) -> None:
        """Waits are seconds, one an item."""
        of_model = {"modalkit.model": model}
        for wait in waits:
            self._waits.record(wait, of_model)
        for size in receipt.batches:
            self._batches.record(size, of_model)
        if receipt.items:
            self._work.record(receipt.seconds, of_model)
        for name, seconds in receipt.loads:
            self._loads.record(seconds, {"modalkit.model": name})
        for kind, count in Counter(_kind(outcome) for outcome in outcomes).items():
            self._items.add(count, of_model | {"modalkit.outcome": kind})

    def delivery_done(self, kind: str, *, is_delivered: bool, seconds: float) -> None:
        outcome = "delivered" if is_delivered else "failed"
        self._deliveries.record(seconds, {"modalkit.delivery.to": kind, "modalkit.outcome": outcome})

    def flush(self) -> None:
        self._provider.force_flush()

    def shutdown(self) -> None:
        self._provider.shutdown()


def known_method(method: str) -> str:
    """HTTP's own methods; a caller's inventions are one."""
    return method if method in _METHODS else "_OTHER"


def _view(name: str, boundaries: Sequence[float]) -> View:
    return View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation(boundaries))


def _kind(outcome: Outcome) -> str:
    return outcome.problem.kind if isinstance(outcome, Failure) else "ok"
