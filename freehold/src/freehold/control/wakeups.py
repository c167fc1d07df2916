"""Hints without data: "something about X changed". A lost or doubled hint costs latency only, never correctness."""

import asyncio

_LONGEST = 24 * 3600.0  # seconds of one wait, whatever a client asks for


class Wakeup:
    """Wakes everyone who waits now. Waiters look at the state themselves; the hint says nothing about it.

    Read `generation`, look at the state, then `wait(generation)`: a hint between the look and the wait is not lost.
    """

    __slots__ = ("_also", "_changed", "_generation")

    def __init__(self, *, also: "Wakeup | None" = None) -> None:
        """Whoever waits for `also` is woken too: what changes here concerns them."""
        self._also = also
        self._generation = 0
        self._changed: asyncio.Future[None] | None = None

    @property
    def generation(self) -> int:
        return self._generation

    def notify(self) -> None:
        self._generation += 1
        changed, self._changed = self._changed, None
        if changed is not None and not changed.done():
            changed.set_result(None)
        if self._also is not None:
            self._also.notify()

    async def wait(self, generation: int, seconds: float) -> bool:
        """True as soon as there was a hint after `generation`; False after that many seconds without one."""
        if self._generation != generation:
            return True
        if not seconds > 0:  # NaN too: callers pass on what clients send
            return False
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(asyncio.shield(self._changed), min(seconds, _LONGEST))
        except TimeoutError:
            return False
        return True
