"""What the gateway counts, as Prometheus reads it."""

from collections import Counter
from collections.abc import Iterator, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
KINDS = ("direct", "data_channel", "own", "refused")  # the ways that a request can take


class Metrics:
    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()

    def count(self, kind: str, status: int) -> None:
        self._requests[kind, status // 100] += 1

    def text(self, gauges: Mapping[str, tuple[str, int]]) -> str:
        """`gauges`: name → what it tells, and how many there are now."""
        return "\n".join([*self._request_lines(), *_gauge_lines(gauges), ""])

    def _request_lines(self) -> Iterator[str]:
        yield "# HELP freehold_http_requests_total Responses by the way that their requests took and the class of their status."
        yield "# TYPE freehold_http_requests_total counter"
        for kind in KINDS:
            for status in range(1, 6):
                yield f'freehold_http_requests_total{{path="{kind}",status="{status}xx"}} {self._requests[kind, status]}'


def _gauge_lines(gauges: Mapping[str, tuple[str, int]]) -> Iterator[str]:
    for name, (help_text, value) in gauges.items():
        yield f"# HELP freehold_http_{name} {help_text}"
        yield f"# TYPE freehold_http_{name} gauge"
        yield f"freehold_http_{name} {value}"
