"""Looks at what waits and runs every two seconds, writes what was counted every ten, and deletes what is too old."""

from freehold.control.services.metrics import Metrics
from freehold.domain.clock import Clock

_SPAN = 10.0  # seconds: of the narrowest buckets
_LOOK = 2.0  # seconds between samples
_PRUNE = 600.0  # seconds


class Historian:
    def __init__(self, *, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._flush_at = 0.0  # wall clock: buckets begin at round times
        self._prune_at = 0.0

    async def step(self) -> float:
        """Seconds until the next look."""
        now = self._clock.now().timestamp()
        self._metrics.sample()
        if now >= self._flush_at:
            await self._metrics.flush()
            self._flush_at = now - now % _SPAN + _SPAN
        if now >= self._prune_at:
            await self._metrics.prune()
            self._prune_at = now + _PRUNE
        return min(_LOOK, max(self._flush_at - self._clock.now().timestamp(), 0.0))
