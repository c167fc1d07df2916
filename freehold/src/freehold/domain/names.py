"""Names that people give to things: secrets, mounts, volumes."""

import re

from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import is_id

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


def checked_name(name: str, noun: str) -> str:
    """The rules of the client, for those who come without it."""
    if not _NAME.fullmatch(name) or is_id(name, "ap"):
        msg = (
            f"{name[:80]!r} cannot be the name of a {noun}: use 1 to 64 letters, digits, '-', '_' and '.', and not the shape of an app id."
        )
        raise InvalidRequest(msg)
    return name
