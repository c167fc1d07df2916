"""The stream of a page: what it says, what a reader that does not read costs, and when it ends."""

import json
import re

import anyio
import pytest
from fakes.clock import FakeClock
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

from freehold.control.services.logs import Logs
from freehold.dashboard import streams
from freehold.dashboard.access import ROOT, Session
from freehold.dashboard.acting import is_whole
from freehold.dashboard.budget import Budget
from freehold.dashboard.contents import Contents, signed
from freehold.dashboard.guard import SESSION
from freehold.dashboard.live import Hub
from freehold.dashboard.streams import Stream
from freehold.domain.logs import LogEntry, LogSource
from freehold.store.logs import LogStore

APP = "ap-0000000000000000000000"
OWNER = Session("id", "a" * 64)


class NoTasks:
    def find(self, _):
        return None


class Reader:
    """Takes what a stream sends, until `is_reading` is taken from it."""

    def __init__(self):
        self.chunks = []
        self.came = anyio.Event()
        self.reads = anyio.Event()
        self.reads.set()
        self.has_left = anyio.Event()

    async def send(self, message):
        await self.reads.wait()
        self.chunks.append(message.get("body", b""))
        self.came.set()

    async def receive(self):
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    def stop_reading(self):
        self.reads = anyio.Event()

    def events(self, kind):
        text = b"".join(self.chunks).decode()
        return [
            (int(number or 0), json.loads(data)) for number, data in re.findall(rf"(?:id: (\d+)\n)?event: {kind}\ndata: (.*)\n\n", text)
        ]

    async def until(self, fact):
        with anyio.fail_after(30):
            while not fact():
                self.came = anyio.Event()
                if not fact():
                    await self.came.wait()


@pytest.fixture
def logs(tmp_path):
    return Logs(store=LogStore(tmp_path, bytes_per_log=50_000_000), tasks=NoTasks(), clock=FakeClock())


@pytest.fixture
def hub():
    async def content_of(page):
        return json.dumps(f"<p>{page}</p>").encode()

    return Hub(lambda _: 0, content_of, Budget())


@pytest.fixture
def reader():
    return Reader()


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(streams, "_LOG_REST", 0)
    monkeypatch.setattr(streams, "_LOGIN_LOOK", 0.01)


def stream(hub, logs, *, after=0, session=lambda: OWNER):
    return Stream(hub, hub.join("/calls", "all"), session=session, logs=logs, subject=APP, after=after)


def write(logs, first, last):
    logs.append(APP, [LogEntry(at=1.0, source=LogSource.STDOUT, text=f"line {number}\n", task_id="ta-1") for number in range(first, last)])


def texts(reader):
    return [line["text"] for _, told in reader.events("lines") for line in told["lines"]]


async def test_it_says_what_is_new_of_the_page_and_of_the_log(hub, logs, reader):
    async with anyio.create_task_group() as group:
        group.start_soon(stream(hub, logs), {}, reader.receive, reader.send)
        write(logs, 0, 3)
        await reader.until(lambda: len(texts(reader)) == 3)
        await hub.tick()
        await reader.until(lambda: reader.events("content"))
        reader.has_left.set()
    assert texts(reader) == ["line 0", "line 1", "line 2"]
    assert [html for _, html in reader.events("content")] == ["<p>/calls</p>"]
    assert len(hub) == 0


async def test_who_comes_back_gets_the_lines_from_there_on_and_none_twice(hub, logs):
    first, second = Reader(), Reader()
    async with anyio.create_task_group() as group:
        group.start_soon(stream(hub, logs), {}, first.receive, first.send)
        write(logs, 0, 5)
        await first.until(lambda: len(texts(first)) == 5)
        first.has_left.set()
        write(logs, 5, 8)
        last_id = first.events("lines")[-1][0]
        group.start_soon(stream(hub, logs, after=last_id), {}, second.receive, second.send)
        await second.until(lambda: len(texts(second)) == 3)
        second.has_left.set()
    assert texts(first) + texts(second) == [f"line {number}" for number in range(8)]


async def test_a_reader_that_does_not_read_is_held_nothing_for(hub, logs, reader):
    """What waits for it is one piece of its log at most; when it reads again, it is told how many lines it missed."""
    async with anyio.create_task_group() as group:
        group.start_soon(stream(hub, logs), {}, reader.receive, reader.send)
        write(logs, 0, 1)
        await reader.until(lambda: texts(reader) == ["line 0"])
        reader.stop_reading()
        for start in range(0, 20_000, 1000):
            write(logs, start, start + 1000)
            await hub.tick()
        reader.reads.set()
        write(logs, 99_999, 100_000)
        await reader.until(lambda: texts(reader)[-1] == "line 99999")
        reader.has_left.set()
    assert all(len(told["lines"]) <= streams._BATCH for _, told in reader.events("lines"))
    assert sum(told["left_out"] + len(told["lines"]) for _, told in reader.events("lines")) == 20_002
    assert len(reader.events("content")) <= 1


async def test_long_lines_come_few_at_a_time(hub, logs, reader):
    async with anyio.create_task_group() as group:
        group.start_soon(stream(hub, logs), {}, reader.receive, reader.send)
        logs.append(APP, [LogEntry(at=1.0, source=LogSource.STDOUT, text="x" * 3000 + "\n", task_id="ta-1") for _ in range(300)])
        await reader.until(lambda: texts(reader))
        reader.has_left.set()
    assert max(len(chunk) for chunk in reader.chunks) < 2 * streams._BATCH_LENGTH


async def test_it_ends_with_the_login(hub, logs, reader):
    logins = [OWNER, OWNER, None]
    with anyio.fail_after(30):
        await stream(hub, logs, session=lambda: logins.pop(0))({}, reader.receive, reader.send)
    assert len(hub) == 0


async def test_it_ends_with_the_engine(hub, logs, reader):
    hub.closed.set()
    with anyio.fail_after(30):
        await stream(hub, logs)({}, reader.receive, reader.send)


class TestContents:
    @pytest.fixture
    def contents(self):
        async def page(request: Request) -> HTMLResponse:
            assert not is_whole(request)
            return HTMLResponse(f"<p>{request.url.path}</p>{request.query_params}<input value={request.scope[SESSION].csrf}>")

        async def text(_: Request) -> PlainTextResponse:
            return PlainTextResponse("")

        async def fails(_: Request) -> HTMLResponse:
            raise ZeroDivisionError

        return Contents(Starlette(routes=[Route(path, kind) for path, kind in (("/page", page), ("/text", text), ("/fails", fails))]))

    async def test_each_gets_the_word_of_its_own_session(self, contents):
        content = await contents.of(f"{ROOT}/page?from=1")
        assert OWNER.csrf.encode() not in content
        assert json.loads(signed(content, OWNER)) == f"<p>{ROOT}/page</p>from=1<input value={OWNER.csrf}>"

    @pytest.mark.parametrize("page", ["", "/elsewhere", f"{ROOT}/text", f"{ROOT}/fails", f"{ROOT}/nothing", "\ud800", "\x00?\ud800"])
    async def test_what_is_no_page_has_no_content(self, contents, page):
        assert await contents.of(page) == b""
