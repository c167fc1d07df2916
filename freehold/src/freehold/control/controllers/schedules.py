"""Gives each schedule its turn when its time has come, and says how long it is until the next."""

from freehold.control.controllers.loop import for_each
from freehold.control.services.schedules import Schedules
from freehold.domain.clock import Clock
from freehold.domain.schedules import Schedule

_TRY_AGAIN = 1.0  # seconds after which a turn that failed is tried again


class Clockwork:
    def __init__(self, *, schedules: Schedules, clock: Clock) -> None:
        self._schedules = schedules
        self._clock = clock

    async def step(self) -> float | None:
        """Seconds until the next time of any schedule; None if there is none."""
        now = self._clock.now()
        await for_each("schedule", await self._schedules.due(now), self._take_turn)
        next_at = await self._schedules.next_at()
        if next_at is None:
            return None
        return (next_at - self._clock.now()).total_seconds() if next_at > now else _TRY_AGAIN

    async def _take_turn(self, schedule: Schedule) -> None:
        await self._schedules.take_turn(schedule)
