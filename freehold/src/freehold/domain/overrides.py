"""Autoscaler settings that were changed while a function runs: they hold until its next deploy."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from freehold.domain.errors import InvalidRequest
from freehold.domain.functions import AutoscalerSettings

_SHORTEST, _LONGEST = 2, 3600  # seconds of a scaledown_window, as modal has it
_WINDOWS = ("scaledown_window", "scaleup_window")
_OPTIONAL = ("max_containers", "scaledown_rate_limit", "target_concurrency")  # zero: as if it were not set


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerOverride:
    """Field of AutoscalerSettings → its value (windows in seconds), and when each was changed last."""

    values: Mapping[str, float] = field(default_factory=dict)
    changed_at: Mapping[str, datetime] = field(default_factory=dict)

    def changed(self, values: Mapping[str, float], now: datetime) -> "AutoscalerOverride":
        """With these values too; others keep theirs."""
        return AutoscalerOverride(values={**self.values, **values}, changed_at={**self.changed_at, **dict.fromkeys(values, now)})


def apply(settings: AutoscalerSettings, override: AutoscalerOverride) -> AutoscalerSettings:
    values: dict[str, Any] = {name: _typed(name, value) for name, value in override.values.items()}
    return replace(settings, **values)


def check(settings: AutoscalerSettings, *, most_tasks: int) -> None:
    """Raises InvalidRequest for settings that cannot be kept, with what to change."""
    if settings.max_containers is not None and settings.max_containers < settings.min_containers:
        msg = f"max_containers ({settings.max_containers}) is below min_containers ({settings.min_containers})."
        raise InvalidRequest(msg)
    if settings.min_containers > most_tasks:
        msg = f"min_containers={settings.min_containers} is more than this machine takes: {most_tasks} (FREEHOLD_MAX_TASKS)."
        raise InvalidRequest(msg)
    window = settings.scaledown_window.total_seconds()
    if not _SHORTEST <= window <= _LONGEST:
        msg = f"scaledown_window must be between {_SHORTEST} and {_LONGEST} seconds, not {window:g}."
        raise InvalidRequest(msg)


def _typed(name: str, value: float) -> timedelta | float | int | None:
    if name in _WINDOWS:
        return timedelta(seconds=value)
    if name in _OPTIONAL and not value:
        return None
    return float(value) if name == "target_concurrency" else int(value)
