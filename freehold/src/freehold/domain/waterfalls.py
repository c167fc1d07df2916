"""A trace on paper: its spans below each other, each with a bar where it lies in time."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from freehold.domain.traces import Span, Trace

_WIDTH, _LEAST_WIDTH = 40, 8  # of the bars


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A span on paper: how deep it is, when it began and how long it took (seconds since the first began), and a bar for that."""

    span: Span
    depth: int
    offset: float
    seconds: float
    bar: str


def waterfall(trace: Trace, now: datetime, width: int = _WIDTH) -> list[Row]:
    """What lasts still is drawn up to now."""
    if not trace.spans:
        return []
    width = max(width, _LEAST_WIDTH)
    begin = min(span.begins_at for span in trace.spans)
    whole = max((span.ends_at or now) - begin for span in trace.spans) or timedelta(microseconds=1)
    depths: dict[str, int] = {}
    rows = []
    for span in trace.spans:
        depths[span.id] = depths.get(span.parent, -1) + 1
        offset, took = span.begins_at - begin, max((span.ends_at or now) - span.begins_at, timedelta(0))
        left = min(round(width * (offset / whole)), width - 1)
        bar = " " * left + "█" * max(min(round(width * (took / whole)), width - left), 1)
        rows.append(Row(span=span, depth=depths[span.id], offset=offset.total_seconds(), seconds=took.total_seconds(), bar=bar))
    return rows
