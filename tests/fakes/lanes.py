"""Lanes in memory, for gateways in tests: their containers are real uvicorn servers on unix sockets, or whatever listens at an address."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fakes.web import FakeWebCalls

from freehold.domain.functions import WebKind, WebRoute, WebTarget
from freehold.domain.ids import EnvironmentId, TaskId, new_app_id, new_function_id, new_task_id

TOKEN = ("wk-key", "ws-secret")


class FakeProxyTokens:
    def accepts(self, key: str, secret: str, environment_id: EnvironmentId | None = None) -> bool:
        return (key, secret) == TOKEN


class StockLanes:
    """Of containers that take requests as messages."""

    def __init__(self, calls: FakeWebCalls) -> None:
        self._calls = calls

    def route(self, label: str) -> WebRoute:
        return self._calls.route(label)

    def route_of_host(self, host: str) -> WebRoute | None:
        return None

    def take(self, target: WebTarget, session: str = "") -> None:
        return None

    async def wait(self, target: WebTarget, patience: float, session: str = "") -> None:
        return None

    def release(self, lane: Any) -> None:
        raise AssertionError

    lost = timed_out = release


@dataclass(eq=False)
class FakeLane:
    address: str | tuple[str, int]
    id: TaskId = field(default_factory=new_task_id)
    booked: int = 0
    is_lost: bool = False


class FakeLanes(StockLanes):
    """`lanes` of one function, the least loaded first; who finds none waits until `open`, or raises `refusal`."""

    def __init__(self, calls: FakeWebCalls | None = None) -> None:
        super().__init__(calls or FakeWebCalls())
        self.routes: dict[str, WebRoute] = {}
        self.hosts: dict[str, WebRoute] = {}
        self.lanes: list[FakeLane] = []
        self.refusal: Exception | None = None
        self.timed_out_lanes: list[FakeLane] = []
        self.lost_lanes: list[FakeLane] = []
        self.sessions: list[str] = []
        self.released = 0
        self.taken = 0
        self._opened = asyncio.Event()

    def deploy(
        self,
        label: str,
        *addresses: str | tuple[str, int],
        kind: WebKind = WebKind.ASGI,
        name: str = "f",
        method_name: str = "",
        **rules: Any,
    ) -> WebRoute:
        target = WebTarget(function_id=new_function_id(), app_id=new_app_id(), name=name, kind=kind, method_name=method_name)
        self.routes[label] = WebRoute(target=target, **rules)
        for address in addresses:
            self.open(address)
        return self.routes[label]

    def open(self, address: str | tuple[str, int]) -> FakeLane:
        self.lanes.append(FakeLane(address))
        self._opened.set()
        return self.lanes[-1]

    def route(self, label: str) -> WebRoute:
        return self.routes.get(label) or super().route(label)

    def route_of_host(self, host: str) -> WebRoute | None:
        return self.hosts.get(host)

    def take(self, target: WebTarget, session: str = "") -> Any:
        self.sessions.append(session)
        able = [lane for lane in self.lanes if not lane.is_lost]
        if not able:
            return None
        lane = min(able, key=lambda lane: lane.booked)
        lane.booked += 1
        self.taken += 1
        return lane

    async def wait(self, target: WebTarget, patience: float, session: str = "") -> Any:
        if self.refusal:
            raise self.refusal
        self._opened.clear()
        await self._opened.wait()
        return self.take(target, session)

    def release(self, lane: FakeLane) -> None:
        assert lane.booked > 0, "released twice"
        lane.booked -= 1
        self.released += 1

    def lost(self, lane: FakeLane) -> None:
        lane.is_lost = True
        self.lost_lanes.append(lane)

    def timed_out(self, lane: FakeLane) -> None:
        self.timed_out_lanes.append(lane)


@asynccontextmanager
async def a_server(app: Any, path: Path) -> AsyncIterator[str]:
    """A uvicorn on a unix socket: what runs in a container. Yields its address."""
    config = uvicorn.Config(
        app, uds=str(path), lifespan="off", log_config=None, access_log=False, timeout_keep_alive=75, ws="websockets-sansio"
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    serving = asyncio.ensure_future(server.main_loop())  # noqa: TID251
    try:
        yield str(path)
    finally:
        server.should_exit = True
        server.force_exit = True
        await serving
        await server.shutdown()
