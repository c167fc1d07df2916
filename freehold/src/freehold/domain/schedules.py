"""Schedules: when a function is to be called by itself. Their words are checked when they are deployed."""

from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from freehold.domain.errors import InvalidRequest

_SOME_DAY = datetime(2024, 1, 1)  # noqa: DTZ001 — only the words are read, no moment is computed


def check_cron(text: str, timezone: str) -> None:
    """Five fields, as crontab(5) has them, in a zone of the IANA database; empty is UTC. Raises InvalidRequest."""
    try:
        CronSim(text, _SOME_DAY)
    except CronSimError as error:
        msg = f"{text[:200]!r} is not a cron schedule: {error}. Write five fields, such as '0 9 * * 1-5' for nine on weekdays."
        raise InvalidRequest(msg) from error
    try:
        ZoneInfo(timezone or "UTC")
    except (ValueError, OSError, KeyError) as error:
        msg = f"{timezone[:200]!r} is not a time zone that this machine knows. Use a name such as 'Europe/Berlin'."
        raise InvalidRequest(msg) from error
