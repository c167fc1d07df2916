"""The loop that every controller shares: step when something changed, or when it is time to look anyway."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from freehold.control.wakeups import Wakeup

log = structlog.get_logger()

_LEAST = 0.005  # seconds between steps: a burst of hints becomes one look


async def run(name: str, step: Callable[[], Awaitable[None]], *, changed: Wakeup, every: float) -> None:
    """Until cancelled. A step that fails is logged and tried again at the next turn; it never ends the loop."""
    while True:
        generation = changed.generation
        try:
            await step()
        except Exception:
            log.exception("controller_failed", controller=name)
        await changed.wait(generation, every)
        await asyncio.sleep(_LEAST)
