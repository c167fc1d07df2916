"""Environments: named spaces that apps, secrets and other objects live in."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count

from freehold.domain.clients import knows_new_builders
from freehold.domain.errors import AlreadyExists, InvalidRequest
from freehold.domain.ids import EnvironmentId

DEFAULT_ENVIRONMENT = "main"

_NAME = re.compile(r"(?!en-)[a-z0-9][a-z0-9_-]{0,63}", re.IGNORECASE)  # `en-` begins ids
_SUFFIX = re.compile(r"([a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?)?")
_NOT_IN_SUFFIX = re.compile(r"[^a-z0-9]+")
_SUFFIX_LENGTH = 28  # leaves room for a number

_OLDEST_BUILDER = "2024.10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    id: EnvironmentId
    name: str
    created_at: datetime
    web_suffix: str = ""  # between workspace and `--` in web addresses; empty for the default environment

    @property
    def is_default(self) -> bool:
        return self.name == DEFAULT_ENVIRONMENT


def checked_environment_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        msg = (
            f"{name[:80]!r} cannot be the name of an environment: use 1 to 64 letters, digits, '-' and '_', "
            "beginning with a letter or digit and not with 'en-'."
        )
        raise InvalidRequest(msg)
    return name


def checked_web_suffix(suffix: str, taken: Iterable[str]) -> str:
    if not _SUFFIX.fullmatch(suffix):
        msg = f"{suffix[:80]!r} cannot be part of a web address: use up to 32 lower-case letters, digits and inner '-'."
        raise InvalidRequest(msg)
    if suffix in set(taken):
        msg = f"Another environment has the web suffix {suffix!r} already. Choose another one."
        raise AlreadyExists(msg)
    return suffix


def free_web_suffix(name: str, taken: Iterable[str]) -> str:
    """The name as it can stand in a web address, numbered if another environment took that."""
    plain = _NOT_IN_SUFFIX.sub("-", name.lower())[:_SUFFIX_LENGTH].strip("-")
    used = set(taken)
    candidates = chain([plain], (f"{plain}-{number}" for number in count(2)))
    return next(candidate for candidate in candidates if candidate not in used)


def builder_version_for(client_version: str, newest: str) -> str:
    """The image builder version to tell a client: one that it does not know fails even a trivial deploy."""
    return newest if knows_new_builders(client_version) else min(newest, _OLDEST_BUILDER)
