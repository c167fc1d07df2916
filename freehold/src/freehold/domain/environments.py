"""Environments: named spaces that apps, secrets and other objects live in."""

from dataclasses import dataclass
from datetime import datetime

from freehold.domain.ids import EnvironmentId

DEFAULT_ENVIRONMENT = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    id: EnvironmentId
    name: str
    created_at: datetime
    web_suffix: str = ""  # between workspace and `--` in web addresses; empty for the default environment
