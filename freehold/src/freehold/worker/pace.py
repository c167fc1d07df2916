"""How fast output is read: a container that prints without end waits for us, and its neighbours do not."""

from freehold.domain.clock import Clock


class Pace:
    """A token bucket of work: `burst` seconds at once, `share` of the time after that."""

    def __init__(self, clock: Clock, *, share: float, burst: float) -> None:
        self._clock = clock
        self._share = share
        self._burst = burst
        self._left = burst
        self._filled_at = clock.monotonic()

    def spend(self, work: float) -> float:
        """So many seconds of work were done: how many to wait before the next."""
        now = self._clock.monotonic()
        self._left = min(self._burst, self._left + (now - self._filled_at) * self._share) - work
        self._filled_at = now
        return max(0.0, -self._left / self._share)


def container_pace(clock: Clock) -> Pace:
    """What the output of one container may cost of the core that answers everybody: megabytes per second of plain lines."""
    return Pace(clock, share=0.05, burst=0.5)


def machine_pace(clock: Clock) -> Pace:
    """All containers together."""
    return Pace(clock, share=0.15, burst=1.0)
