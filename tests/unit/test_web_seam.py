"""What a container of a web function and its engine say to each other: where it serves, why it does not, when it is to leave."""

import asyncio
import json
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from freehold.container import web
from freehold.container.frames import ANSWER, HELLO, REFUSED, SERVE, Splitter, frame
from freehold.container.link import Link

DEADLINE = 30


class FakeEngine:
    """Hears offers; answers them when told to. `refuses` says no to them."""

    def __init__(self, path):
        self.path = str(path / "inputs.sock")
        self.offers = asyncio.Queue()
        self.refuses = False
        self.writers = []
        self._server = None

    async def start(self):
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def _serve(self, reader, writer):
        self.writers.append(writer)
        frames = Splitter()
        while data := await reader.read(65536):
            for kind, number, payload in frames.feed(data):
                if kind == HELLO:
                    writer.write(frame(ANSWER, number))
                elif kind == SERVE:
                    self.offers.put_nowait((json.loads(payload), number, writer))
                    if self.refuses:
                        writer.write(frame(REFUSED, number, b"no"))

    async def dies(self):
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0)


class FakeServer:
    def __init__(self):
        self.ended = ""

    async def leave(self):
        self.ended = "left"

    async def interrupt(self):
        self.ended = "interrupted"


@asynccontextmanager
async def engine_of(tmp_path):
    engine = FakeEngine(tmp_path)
    await engine.start()
    link = Link(engine.path, "ta-1", "token", dict)
    async with asyncio.timeout(DEADLINE):
        yield engine, link
    link.close()
    await engine.dies()


async def test_it_serves_until_it_is_told_to_leave(tmp_path):
    server = FakeServer()
    async with engine_of(tmp_path) as (engine, link), asyncio.TaskGroup() as group:
        serving = group.create_task(web._until_told_to_leave(link, "http.sock", server))
        offer, number, writer = await engine.offers.get()
        assert offer == {"address": "http.sock", "why_not": ""}
        assert server.ended == ""
        writer.write(frame(ANSWER, number))
        assert await serving is True

    assert server.ended == "left"


async def test_the_next_engine_hears_it_too(tmp_path):
    server = FakeServer()
    async with engine_of(tmp_path) as (engine, link), asyncio.TaskGroup() as group:
        serving = group.create_task(web._until_told_to_leave(link, "8000", server))
        await engine.offers.get()
        await engine.dies()
        await engine.start()
        offer, number, writer = await engine.offers.get()
        assert offer["address"] == "8000"
        writer.write(frame(ANSWER, number))
        assert await serving is True


async def test_one_that_finds_no_engine_for_long_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(web, "_PATIENCE", 0.2)
    server = FakeServer()
    async with engine_of(tmp_path) as (engine, link), asyncio.TaskGroup() as group:
        serving = group.create_task(web._until_told_to_leave(link, "http.sock", server))
        await engine.offers.get()
        await asyncio.sleep(0.3)  # patience counts from the break, not from the offer
        assert not serving.done()
        await engine.dies()
        assert await serving is True

    assert server.ended == "left"


async def test_an_engine_that_says_no_gets_inputs_in_the_stock_way(tmp_path):
    server = FakeServer()
    async with engine_of(tmp_path) as (engine, link):
        engine.refuses = True
        assert await web._until_told_to_leave(link, "http.sock", server) is False

    assert server.ended == "interrupted"


async def test_so_does_one_that_is_not_there(tmp_path):
    server = FakeServer()
    link = Link(str(tmp_path / "nothing.sock"), "ta-1", "token", dict)

    assert await web._until_told_to_leave(link, "http.sock", server) is False


@pytest.mark.parametrize(
    ("functions", "reason"),
    [
        ({"page": SimpleNamespace(port=0), "work": None}, "its class mixes web and other methods"),
        ({"page": SimpleNamespace(port=0), "site": SimpleNamespace(port=80)}, "its class has a web server beside other web methods"),
        ({"page": SimpleNamespace(port=0)}, "its server does not start"),
    ],
)
async def test_the_engine_hears_why_not(tmp_path, functions, reason):
    async with engine_of(tmp_path) as (engine, link), asyncio.TaskGroup() as group:
        serving = group.create_task(web._serve(link, functions))
        offer, number, writer = await engine.offers.get()
        assert (offer["address"], reason in offer["why_not"]) == ("", True)
        writer.write(frame(ANSWER, number))
        assert await serving is False
