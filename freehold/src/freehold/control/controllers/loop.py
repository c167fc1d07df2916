"""The loop that every controller shares: step when something changed, or when it is time to look anyway."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from freehold.control.wakeups import Wakeup

log = structlog.get_logger()

T = TypeVar("T")

_LEAST = 0.002  # seconds between steps: a burst of hints becomes one look


@dataclass(frozen=True, slots=True)
class Controller:
    """A step, what wakes it, and after how many seconds it looks without a hint; sooner, where the step says when.

    After a step it rests, and heeds no hint meanwhile.
    """

    name: str
    step: Callable[[], Awaitable[float | None]]
    changed: Wakeup
    every: float
    rest: float = _LEAST


async def run(controller: Controller) -> None:
    """Until cancelled. A step that fails is logged and tried again at the next turn; it never ends the loop."""
    while True:
        generation = controller.changed.generation
        wait = controller.every
        try:
            asked = await controller.step()
            wait = wait if asked is None else min(asked, wait)
        except Exception:
            log.exception("controller_failed", controller=controller.name)
        await asyncio.sleep(controller.rest)
        await controller.changed.wait(generation, wait)


async def for_each(what: str, items: Iterable[T], step: Callable[[T], Awaitable[None]]) -> None:
    """One item that fails is logged and holds up none of the others; the next turn tries it again."""
    for item in items:
        try:
            await step(item)
        except Exception:
            log.exception("item_failed", what=what, item=str(getattr(item, "id", item)))
