"""Secrets: names and values that become environment variables. Values are sealed before they reach the store."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import SecretId

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_VALUE = 120_000  # Linux starts no program with an `name=value` of 128 KiB or more


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    id: SecretId
    environment: str
    name: str  # empty for secrets made from a dict
    keys: tuple[str, ...]
    sealed: bytes = field(repr=False)  # the values, encrypted
    created_at: datetime
    last_used_at: datetime | None = None
    app_id: str = ""  # owner of an anonymous secret


def checked_env(env: Mapping[str, str]) -> Mapping[str, str]:
    """Refuses keys that cannot be environment variables and values with NUL. Never repeats a value."""
    for key, value in env.items():
        if not _KEY.fullmatch(key):
            msg = f"{key[:100]!r} cannot be an environment variable: use letters, digits and '_', not starting with a digit."
            raise InvalidRequest(msg)
        if "\0" in value:
            msg = f"The value of {key} contains a NUL byte, which no environment variable can hold."
            raise InvalidRequest(msg)
        if len(value.encode()) > _LONGEST_VALUE:
            msg = f"The value of {key} is longer than {_LONGEST_VALUE} bytes. Put it into a file or a volume."
            raise InvalidRequest(msg)
    return env
