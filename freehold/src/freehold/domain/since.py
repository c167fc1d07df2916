"""From when on, as people write it: `90m`, `24h`, `7d`, `2w`, `today`, or a date, with or without a time."""

import re
from datetime import UTC, datetime, timedelta

from freehold.domain.errors import InvalidRequest

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_AGO = re.compile(r"(\d{1,6})([mhdw])")


def since(text: str, now: datetime) -> datetime:
    """In UTC. Raises InvalidRequest."""
    if text == "today":
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        if found := _AGO.fullmatch(text):
            return now - int(found[1]) * _UNITS[found[2]]
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        msg = f"{text!r} is no time. Write 90m, 24h, 7d, 2w, today, or a date like 2026-01-31."
        raise InvalidRequest(msg) from error
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
