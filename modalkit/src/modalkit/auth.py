"""API keys: how one is made, how keys are kept, and which of them a request shows.

Keys are kept as SHA-256 digests: `name:sha256:<64 hex digits>`, one a line. A key of `new_key` is 256 random bits, so nobody finds it by
trying, and a slow password hash would only make each request slow. A line may also hold the key itself, `name:key`. Two lines may have
one name: that is how a key is replaced without a gap.

    python -c 'from modalkit.auth import new_key; made = new_key("alice"); print(made.key, made.line)'
"""

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from modalkit.errors import ConfigError

__all__ = ["Caller", "Key", "NewKey", "current_caller", "find_key", "may_use", "new_key", "parse_keys"]

log = logging.getLogger("modalkit")

_NAME = re.compile(r"[A-Za-z0-9._@-]+")
_HASHED = re.compile(r"sha256:([0-9a-fA-F]{64})")
_SHORTEST = 16  # characters of a key that is given itself; shorter ones may be found by trying


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key for its caller, and the line that the service is given."""

    key: str
    line: str


@dataclass(frozen=True, slots=True)
class Key:
    """One key that is let in, by its digest."""

    name: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the name of the key, or an address where none is asked for. `models` are those it may use; None: all."""

    name: str
    models: frozenset[str] | None = None


def new_key(name: str) -> NewKey:
    """A new random key. Raises ConfigError for a name with other characters than letters, digits and `._@-`."""
    if not _NAME.fullmatch(name):
        msg = f"{name!r} is no name of a key: letters, digits and ._@- only"
        raise ConfigError(msg)
    key = f"mk-{secrets.token_urlsafe(32)}"
    return NewKey(key, f"{name}:sha256:{_digest(key).hex()}")


def parse_keys(text: str, origin: str, *, name: str = "") -> tuple[Key, ...]:
    """The keys of a text: lines, or entries between spaces or commas. With a `name`, a text without any is one key of that name.

    Raises ConfigError, which says `origin` and the number of the entry, and never what the entry holds.
    """
    entries = [entry for entry in re.split(r"[\s,]+", text) if entry]
    if name and len(entries) == 1 and (":" not in entries[0] or entries[0].startswith("sha256:")):
        return (_key(name, entries[0], origin),)
    return tuple(_named(entry, f"{origin}, entry {number}") for number, entry in enumerate(entries, 1))


def find_key(keys: Sequence[Key], presented: str) -> Key | None:
    """The key that was shown. Takes the same time whichever it is, and whether it is one: all digests are compared, each in constant time."""
    digest, found = _digest(presented), None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


CALLER: ContextVar[Caller | None] = ContextVar("modalkit_caller", default=None)  # set by the web side


def current_caller() -> Caller | None:
    """Who sent the request that is being answered; None outside of requests, and where everyone may ask."""
    return CALLER.get()


def may_use(model: str) -> bool:
    """Whether the current caller may use a model."""
    caller = CALLER.get()
    return caller is None or caller.models is None or model in caller.models


def _named(entry: str, origin: str) -> Key:
    name, colon, kept = entry.partition(":")
    if not (colon and kept and _NAME.fullmatch(name)) or name == "sha256":
        msg = f"{origin}: is no API key: write name:sha256:<64 hex digits>, which modalkit.auth.new_key(name).line is"
        raise ConfigError(msg)
    return _key(name, kept, origin)


def _key(name: str, kept: str, origin: str) -> Key:
    if hashed := _HASHED.fullmatch(kept):
        return Key(name, bytes.fromhex(hashed[1]))
    if kept.startswith("sha256:"):
        msg = f"{origin}: {name}: sha256: is followed by 64 hex digits"
        raise ConfigError(msg)
    if len(kept) < _SHORTEST:
        log.warning("%s: the key of %s is short enough to be found by trying: make one by modalkit.auth.new_key", origin, name)
    return Key(name, _digest(kept))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
