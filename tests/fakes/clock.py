"""A clock that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """See `domain.clock.Clock`. Both its hours move together."""

    def __init__(self) -> None:
        self._passed = 0.0

    def now(self):
        return datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=self._passed)

    def monotonic(self):
        return 1000.0 + self._passed

    def move(self, seconds):
        self._passed += seconds
