"""What may go when a folder is full, or what was kept long enough."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePath

# An upload is announced, sent and then named by a message: until that message is stored, nothing else shows that it is needed.
LEAST_AGE = timedelta(hours=1)


def blobs_to_delete(
    oldest_first: Sequence[tuple[str, int, datetime]], *, needed: AbstractSet[str], excess: int, now: datetime
) -> list[str]:
    """Ids of enough blobs (id, size, last use) to free `excess` bytes, or of all that may go."""
    chosen: list[str] = []
    for blob_id, size, used_at in oldest_first:
        if excess <= 0 or now - used_at < LEAST_AGE:
            break
        if blob_id not in needed:
            chosen.append(blob_id)
            excess -= size
    return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSegment:
    """A piece of a log on disk. `ended_at` is when its last line was written, in seconds since the epoch; `size` is in bytes."""

    path: PurePath
    size: int
    ended_at: float


def segments_to_delete(segments: Iterable[StoredSegment], *, now: datetime, ttl: timedelta, total_bytes: int) -> list[StoredSegment]:
    """Those that are older than `ttl`, and the oldest of the rest until no more than `total_bytes` are left."""
    oldest_first = sorted(segments, key=lambda segment: segment.ended_at)
    excess = sum(segment.size for segment in oldest_first) - total_bytes
    expired = (now - ttl).timestamp()
    chosen = []
    for segment in oldest_first:
        if segment.ended_at >= expired and excess <= 0:
            break
        chosen.append(segment)
        excess -= segment.size
    return chosen
