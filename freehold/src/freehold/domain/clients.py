"""Versions of the `modal` package: which of them this engine serves, and how older ones differ from the one that it is made for.

All differences are asked here, by version, so that one place says what still cares for an old one.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

NEWEST = "1.6.4"  # the engine's messages are those of this version
OLDEST = "0.64.235"
RECOMMENDED = "0.72.58"  # the oldest one that lacks nothing

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """As far as it says anything: `1.6.5.dev3` counts as 1.6.5."""

    major: int
    minor: int
    patch: int = 0

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, text: str) -> Self | None:
        """None for what is no version of that package, as when a client does not say its own."""
        found = _VERSION.match(text)
        return cls(int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


_NEWEST, _OLDEST, _WITH_CLASSES = Version(1, 6, 4), Version(0, 64), Version(0, 72)
_WITH_ARGUMENTS_IN_A_FILE = Version(0, 72)
_THAT_RETRIES = Version(0, 72)
_THAT_SENDS_AGAIN = Version(1, 0)
_THAT_TELLS = Version(1, 5)
_WITH_NEW_BUILDERS = Version(1, 1)


def refusal(client_version: str) -> str:
    """Why a client is not served at all; empty where it is."""
    version = Version.of(client_version)
    if version is None or version >= _OLDEST:
        return ""
    return f"This engine serves modal {OLDEST} and newer; you have {client_version}. Upgrade it: pip install 'modal=={NEWEST}'."


def caution(client_version: str) -> str:
    """What the user of a client should know that the engine was not made for; empty where there is nothing."""
    version = Version.of(client_version)
    if version is None:
        return f"Your modal package does not say its version, so it is served as if it were {NEWEST}. Tested are {OLDEST} to {NEWEST}."
    if version > _NEWEST:
        return (
            f"modal {client_version} is newer than this engine, which was tested with versions up to {NEWEST}. Most of it will work; if "
            f"something does not, upgrade Freehold, or use modal=={NEWEST}."
        )
    return ""


def sends_again(client_version: str) -> bool:
    """Whether a client that waits sends inputs again which an earlier engine took with it, and knows a result after which it must not."""
    return not _is_before(client_version, _THAT_SENDS_AGAIN)


def leaves_retries(client_version: str, *, is_map: bool) -> bool:
    """Whether the engine is to try failed inputs of a synchronous call again, because the client that waits does not."""
    return _is_before(client_version, _THAT_SENDS_AGAIN if is_map else _THAT_RETRIES)


def tells_its_task(client_version: str) -> bool:
    """Whether its containers say whose they are by `MODAL_OVERRIDE_HEADERS`."""
    return not _is_before(client_version, _THAT_TELLS)


def lacks_classes(client_version: str) -> bool:
    """Whether its classes are made of fields that the protocol has no more."""
    return _is_before(client_version, _WITH_CLASSES)


def wants_command_line(client_version: str) -> bool:
    """Whether its containers take their arguments from the command line."""
    return _is_before(client_version, _WITH_ARGUMENTS_IN_A_FILE)


def knows_new_builders(client_version: str) -> bool:
    """Whether it knows image builder versions after 2024.10. One that does not say its version may be old."""
    version = Version.of(client_version)
    return version is not None and version >= _WITH_NEW_BUILDERS


def _is_before(client_version: str, first: Version) -> bool:
    version = Version.of(client_version)
    return version is not None and version < first
