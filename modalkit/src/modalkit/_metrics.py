"""What a web container counts, for Prometheus. Labels are names of models and routes, never what a caller chose."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from modalkit import _telemetry
from modalkit._parcels import Receipt

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counts of one app in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("modalkit_requests", "Requests answered.", ("route", "status"), registry=self._registry)
        self.latency = Histogram(
            "modalkit_request_duration_seconds", "Time to the answer's head.", ("route",), buckets=_SECONDS, registry=self._registry
        )
        self.in_flight = Gauge("modalkit_requests_in_flight", "Requests being answered.", registry=self._registry)
        self.errors = Counter("modalkit_errors", "Items without an output.", ("model", "kind"), registry=self._registry)
        self.queue_wait = Histogram(
            "modalkit_queue_wait_seconds", "Time of an item before its batch began.", ("model",), buckets=_SECONDS, registry=self._registry
        )
        self.batch_size = Histogram(
            "modalkit_batch_items", "Items given to the model at once.", ("model",), buckets=_ITEMS, registry=self._registry
        )
        self.model_seconds = Counter("modalkit_model_busy_seconds", "Time of the model's three steps.", ("model",), registry=self._registry)
        self.loads = Histogram(
            "modalkit_model_load_seconds", "Time to load a model.", ("model",), buckets=_SECONDS, registry=self._registry
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One HTTP request; an empty route is none of this app's."""
        self.requests.labels(route or "none", str(status)).inc()
        self.latency.labels(route or "none").observe(seconds)
        _telemetry.request_answered(method, route, status, seconds)

    def failed(self, model: str, kind: str) -> None:
        """One item without an output."""
        self.errors.labels(model, kind).inc()
        _telemetry.item_failed(model, kind)

    def note(self, model: str, receipt: Receipt) -> None:
        """What one reply tells of the model's container."""
        for wait in receipt.waits:
            self.queue_wait.labels(model).observe(wait)
        for size in receipt.batches:
            self.batch_size.labels(model).observe(size)
        self.model_seconds.labels(model).inc(receipt.seconds)
        for name, seconds in receipt.loads:
            self.loads.labels(name).observe(seconds)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)
