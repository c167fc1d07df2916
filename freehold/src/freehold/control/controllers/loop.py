"""The loop that every controller shares: step when something changed, or when it is time to look anyway."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from freehold.control.wakeups import Wakeup

log = structlog.get_logger()

_LEAST = 0.002  # seconds between steps: a burst of hints becomes one look


@dataclass(frozen=True, slots=True)
class Controller:
    """A step, what wakes it, and after how many seconds it looks without a hint."""

    name: str
    step: Callable[[], Awaitable[None]]
    changed: Wakeup
    every: float


async def run(controller: Controller) -> None:
    """Until cancelled. A step that fails is logged and tried again at the next turn; it never ends the loop."""
    while True:
        generation = controller.changed.generation
        try:
            await controller.step()
        except Exception:
            log.exception("controller_failed", controller=controller.name)
        await controller.changed.wait(generation, controller.every)
        await asyncio.sleep(_LEAST)
