"""Callers that do not stop calling while an app is being changed, and what they were answered."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from conformance.deployment import Deployment
from conformance.sites import browser

_PAUSE = 0.02  # seconds between two calls of one caller: the machine has other things to do


@dataclass(frozen=True)
class Answer:
    kind: str
    asked_at: float  # time.monotonic()
    value: int


@dataclass
class Load:
    """Answers and failures of all callers, as they come."""

    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    is_over: bool = False

    async def repeat(self, kind: str, call: Callable[[], Awaitable[list[int]]]) -> None:
        while not self.is_over:
            asked_at = time.monotonic()
            try:
                self.answers += [Answer(kind, asked_at, value) for value in await call()]
            except Exception as error:  # noqa: BLE001 — whatever a caller may see is what the test is about
                self.failures.append(f"{kind}: {error!r}")
            await asyncio.sleep(_PAUSE)

    def values(self, *, since: float = 0.0) -> set[int]:
        return {answer.value for answer in self.answers if answer.asked_at >= since}

    def count(self, kind: str) -> int:
        return sum(answer.kind == kind for answer in self.answers)


@asynccontextmanager
async def load_on(app: Deployment) -> AsyncIterator[Load]:
    """Every way to call `rollouts.py`, all at once. At the end of the block the callers stop, and their last calls have answers."""
    load, version = Load(), app.function("version")
    url = await app.url("web")

    async def remote() -> list[int]:
        return [await version.remote.aio()]

    async def mapped() -> list[int]:
        return [value async for value in version.map.aio([0.02] * 5)]

    async def spawned() -> list[int]:
        return [await (await version.spawn.aio()).get.aio(timeout=60)]

    async def method() -> list[int]:
        return [(await app.cls("Named")(name="ada").version.remote.aio())[1]]

    async with browser() as site, asyncio.TaskGroup() as callers:

        async def web() -> list[int]:
            async with site.get(url) as response:
                assert response.status == 200, await response.text()
                return [int(await response.text())]

        for kind in (remote, remote, mapped, spawned, method, web, web):
            callers.create_task(load.repeat(kind.__name__, kind))
        try:
            yield load
        finally:
            load.is_over = True
