"""An OTLP/HTTP receiver: a real server on loopback that keeps the spans and metrics it is sent, taken apart from their protobuf."""

import gzip
import socket
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Span:
    name: str
    trace: str
    id: str
    parent: str
    kind: int
    began: int  # ns
    ended: int  # ns
    attributes: dict
    links: list  # (trace, id)
    is_error: bool
    resource: dict


@dataclass
class Receiver:
    """What came; `status` is what it answers."""

    endpoint: str = ""
    status: int = 200
    spans: list[Span] = field(default_factory=list)
    metrics: dict = field(default_factory=lambda: defaultdict(list))  # name → points of the last export of each process
    headers: list[dict] = field(default_factory=list)
    requests: int = 0

    def named(self, name):
        return [span for span in self.spans if span.name == name]

    def one(self, name):
        [span] = self.named(name)
        return span

    def children(self, span):
        return sorted((each for each in self.spans if (each.trace, each.parent) == (span.trace, span.id)), key=lambda each: each.began)

    def eventually(self, name, count=1, seconds=60):
        deadline = time.monotonic() + seconds
        while len(self.named(name)) < count:
            assert time.monotonic() < deadline, f"{name} did not come; there are {[each.name for each in self.spans]}"
            time.sleep(0.02)

    def take(self, path, body, headers):
        self.requests += 1
        self.headers.append(headers)
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                about = _attributes(resource.resource.attributes)
                self.spans += [_span(span, about) for scope in resource.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                    self.metrics[metric.name] = _points(metric)


class serving:  # noqa: N801  # reads as a word
    """Context manager: a Receiver at a free port of loopback, or where it is given a socket that listens."""

    def __init__(self, listener=None):
        self._listener = listener or socket.create_server(("127.0.0.1", 0))

    def __enter__(self):
        receiver = Receiver()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
                receiver.take(self.path, body, {name.lower(): value for name, value in self.headers.items()})
                self.send_response(receiver.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(self._listener.getsockname(), Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = self._listener
        self._server.daemon_threads = True
        receiver.endpoint = "http://{}:{}".format(*self._listener.getsockname())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return receiver

    def __exit__(self, *exc):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _span(span, resource):
    return Span(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        span.status.code == 2,
        resource,
    )


def _points(metric):
    kind = metric.WhichOneof("data")
    return [(_attributes(point.attributes), _number(kind, point)) for point in getattr(metric, kind).data_points]


def _number(kind, point):
    if kind == "histogram":
        return {"count": point.count, "sum": point.sum}
    return point.as_int if point.WhichOneof("value") == "as_int" else point.as_double


def _attributes(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
