"""Imported by every Python that has this folder on its path: an engine of which one part never stops, and whose deadline is near."""

import asyncio

from freehold.control.controllers.farewell import Farewell
from freehold.stopping import Stopping

_ask = Stopping.ask


async def _say(_farewell: Farewell) -> None:
    await asyncio.Event().wait()


def _ask_soon(stopping: Stopping) -> None:
    stopping.seconds = 3.0
    _ask(stopping)


Farewell.say = _say  # type: ignore[method-assign]
Stopping.ask = _ask_soon  # type: ignore[method-assign]
