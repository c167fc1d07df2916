"""How late the event loop is: what was due waits for that long, a request just arrived too."""

import asyncio

_PAUSE = 0.1  # seconds between looks
_SPAN = 10.0  # seconds


class LoopLag:
    def __init__(self) -> None:
        self._before = 0.0
        self._current = 0.0

    @property
    def worst(self) -> float:
        """Seconds; of the last ten to twenty seconds."""
        return max(self._before, self._current)

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + _SPAN
        while True:
            due = loop.time() + _PAUSE
            await asyncio.sleep(_PAUSE)
            self._current = max(self._current, loop.time() - due)
            if loop.time() > ends:
                self._before, self._current, ends = self._current, 0.0, loop.time() + _SPAN
