"""Figures over spans of time that fold into longer ones.

A `Bucket` holds the figures of one function from `start` for `width` seconds. History is kept at several widths at once: the narrow ones
for the last hour, the wide ones for days.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from freehold.domain.figures import Figures, in_turn, together
from freehold.domain.ids import AppId, FunctionId

_FEWEST_POINTS = 60  # of a window that is not told how wide its buckets should be


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    function_id: FunctionId
    app_id: AppId
    start: datetime
    width: int  # seconds
    figures: Figures


@dataclass(frozen=True, slots=True)
class Point:
    start: datetime
    figures: Figures


@dataclass(frozen=True, slots=True)
class Resolution:
    width: int  # seconds
    kept: timedelta


def resolutions(kept: timedelta) -> tuple[Resolution, ...]:
    """The widths of buckets that are kept, the narrowest first, and for how long; nothing is kept longer than `kept`."""
    return (
        Resolution(10, min(timedelta(hours=1), kept)),
        Resolution(60, min(timedelta(days=1), kept)),
        Resolution(600, kept),
    )


def floor(moment: datetime, width: int) -> datetime:
    """The start of the bucket that the moment is in."""
    seconds = int(moment.timestamp())
    return datetime.fromtimestamp(seconds - seconds % width, UTC)


def source_for(kept: Sequence[Resolution], *, since: datetime, now: datetime, width: int) -> Resolution:
    """Which buckets to read for points of this width: the widest that fit into them, of those that are still kept."""
    there = [one for one in kept if now - since <= one.kept] or [kept[-1]]
    fitting = [one for one in there if one.width <= width and width % one.width == 0]
    return fitting[-1] if fitting else there[0]


def width_for(kept: Sequence[Resolution], *, since: datetime, until: datetime, now: datetime) -> int:
    """How wide the points of this window should be: few, but enough that its edges are where they were asked for."""
    there = [one for one in kept if now - since <= one.kept] or [kept[-1]]
    fine = [one for one in there if (until - since).total_seconds() / one.width >= _FEWEST_POINTS]
    return (fine[-1] if fine else there[0]).width


def fold(buckets: Iterable[Bucket], width: int) -> list[Bucket]:
    """The same in buckets of this width, in order of time; each function on its own."""
    groups: dict[tuple[datetime, FunctionId], list[Bucket]] = {}
    for bucket in sorted(buckets, key=lambda bucket: bucket.start):
        groups.setdefault((floor(bucket.start, width), bucket.function_id), []).append(bucket)
    return [
        Bucket(function_id=function_id, app_id=group[0].app_id, start=start, width=width, figures=in_turn([one.figures for one in group]))
        for (start, function_id), group in groups.items()
    ]


def line(buckets: Iterable[Bucket], *, since: datetime, until: datetime, width: int) -> list[Point]:
    """All functions together, one point for each bucket from the one `since` is in to the one before `until`; empty ones too."""
    found: dict[datetime, list[Figures]] = {}
    for bucket in fold(buckets, width):
        found.setdefault(bucket.start, []).append(bucket.figures)
    start, points = floor(since, width), []
    while start < until:
        points.append(Point(start, together(found.get(start, ()))))
        start += timedelta(seconds=width)
    return points


def totals(buckets: Iterable[Bucket]) -> dict[FunctionId, Figures]:
    """Each function's figures over all of the buckets."""
    found: dict[FunctionId, list[Figures]] = {}
    for bucket in sorted(buckets, key=lambda bucket: bucket.start):
        found.setdefault(bucket.function_id, []).append(bucket.figures)
    return {function_id: in_turn(figures) for function_id, figures in found.items()}
