"""What may go when the blob folder is full."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

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
