"""What the gateway counts."""

from collections import Counter
from collections.abc import Iterator, Mapping

from freehold.gateway.exposition import Family, Sample

KINDS = ("direct", "data_channel", "own", "refused")  # the ways that a request can take


class Metrics:
    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()

    def count(self, kind: str, status: int) -> None:
        self._requests[kind, status // 100] += 1

    def families(self, gauges: Mapping[str, tuple[str, int]]) -> Iterator[Family]:
        """`gauges`: name → what it tells, and how many there are now."""
        told = "Responses by the way that their requests took and the class of their status."
        counts = [Sample({"path": kind, "status": f"{status}xx"}, self._requests[kind, status]) for kind in KINDS for status in range(1, 6)]
        yield Family("freehold_http_requests_total", "counter", told, counts)
        for name, (help_text, value) in gauges.items():
            yield Family(f"freehold_http_{name}", "gauge", help_text, [Sample({}, value)])
