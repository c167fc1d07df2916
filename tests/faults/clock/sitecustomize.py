"""Imported by every Python that has this folder on its path: a wall clock that is ahead by the seconds in a file."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from freehold.domain.clock import SystemClock

_FILE = Path(os.environ["FAULTS_CLOCK"])
_real_time = time.time


def _ahead() -> float:
    return float(_FILE.read_text() or 0)  # empty for a moment while it is written


def _now(_clock: SystemClock) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=_ahead())


SystemClock.now = _now  # type: ignore[method-assign]
time.time = lambda: _real_time() + _ahead()
