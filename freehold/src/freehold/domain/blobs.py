"""Blobs: content too large to travel inside a message. The id of a blob is the digest of its content."""

import re
from dataclasses import dataclass

from freehold.domain.ids import BlobId

_CONTENT_ID = re.compile(r"bl-([0-9a-f]{64})")
_MENTION = re.compile(rb"bl-(?:[0-9a-f]{64}|[a-zA-Z0-9]{22})")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredContent:
    """What is known of content after it was written: digests in hex."""

    digest: str  # SHA-256
    md5: str
    size: int


def blob_id_of(digest: str) -> BlobId:
    return BlobId(f"bl-{digest}")


def digest_of(blob_id: str) -> str | None:
    """The digest in the id; None for ids that were given before the content was known."""
    match = _CONTENT_ID.fullmatch(blob_id)
    return match[1] if match else None


def mentioned_blob_ids(message: bytes) -> set[str]:
    """Blob ids in a serialized message: at least all that it refers to, perhaps more."""
    return {mention.decode("ascii") for mention in _MENTION.findall(message)}
