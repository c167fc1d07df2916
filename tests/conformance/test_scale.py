"""Pages of an engine with a long past: a million calls, ten thousand containers and a map of a hundred thousand inputs, each in a fifth of a second."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import anyio
import pytest
from fakes.large_store import APP, FUNCTION, MAP, START, fill, fill_map

from conformance.engine import Engine
from freehold.domain.apps import App, AppState
from freehold.domain.clock import SystemClock
from freehold.domain.functions import Function
from freehold.store.sql.store import SqlStore

LONGEST = 0.2  # seconds
TRIES = 3  # others work on the machine too
PAGES = {
    "apps": "/dash/",
    "an app": f"/dash/apps/{APP}",
    "a function": f"/dash/functions/{FUNCTION}",
    "calls": "/dash/calls",
    "older calls": f"/dash/calls?from={START + 500_000_000}.fc-0000000000000000500000",
    "a call": "/dash/calls/fc-0000000000000000500000",
    "a map": f"/dash/calls/{MAP}",
    "containers": "/dash/containers",
    "older containers": f"/dash/containers?from={START + 5_000_000}.ta-0000000000000000005000",
    "a container": "/dash/containers/ta-0000000000000000005000",
    "images": "/dash/images",
    "schedules": "/dash/schedules",
    "machines": "/dash/machines",
    "an id": f"/id/{MAP}",
}


@pytest.fixture
def old_engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path / "home")
    engine.start()
    engine.stop().succeeded()
    anyio.run(_deploy, engine.home / "freehold.db")
    fill(engine.home / "freehold.db", calls=1_000_000, tasks=10_000)
    fill_map(engine.home / "freehold.db", inputs=100_000, unfinished=0)
    engine.start()
    yield engine
    engine.stop().succeeded()


async def _deploy(path: Path) -> None:
    store = SqlStore(path)
    await store.open()
    async with store.transaction() as tx:
        await tx.apps.put(App(id=APP, environment="main", description="old", state=AppState.STOPPED, created_at=SystemClock().now()))
        await tx.functions.put(Function(id=FUNCTION, app_id=APP, tag="f"))
    await store.close()


@pytest.mark.long(reason="it loads a million calls")
def test_a_million_calls_are_looked_through_in_a_moment(old_engine: Engine) -> None:
    took = {name: min(_seconds(old_engine, path) for _ in range(TRIES)) for name, path in PAGES.items()}
    assert max(took.values()) < LONGEST, took


def _seconds(engine: Engine, path: str) -> float:
    token = ":".join((engine.credentials["MODAL_TOKEN_ID"], engine.credentials["MODAL_TOKEN_SECRET"]))
    asked = Request(engine.gateway_url + path, headers={"Authorization": f"Bearer {token}", "Accept": "text/html"})
    began = time.perf_counter()
    with urlopen(asked, timeout=60) as answer:
        assert answer.read()
    return time.perf_counter() - began
