"""Terminals: who may open one, that neither side is sent more than it takes, and that nothing of one is left."""

import json
import time
from contextlib import contextmanager
from types import SimpleNamespace

import anyio
import pytest
from fakes.clock import FakeClock
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from freehold.control.services.tokens import Tokens
from freehold.dashboard import terminals
from freehold.dashboard.access import ROOT, Access
from freehold.dashboard.guard import Guard
from freehold.dashboard.terminals import TerminalPages
from freehold.domain.errors import NotFound
from freehold.store.keyring import Keyring
from freehold.store.memory.store import MemoryStore
from freehold.wire.execs import ExecEnd, Terminal

HOST = "http://127.0.0.1:8980"
TASK = "ta-" + "t" * 22
PATH = f"ws://127.0.0.1:8980{ROOT}/containers/{TASK}/terminal"
SIZE = {"rows": 24, "columns": 80}
CHUNK = b"y" * 64 * 1024


class FakeExecs:
    """One shell, and its container: it says what is in `output` and then lives on until `ended`; it takes keys once `takes` is set."""

    def __init__(self):
        self.output = [b"# "]
        self.read_chunks = 0
        self.typed, self.sizes, self.started, self.stopped = [], [], [], []
        self.is_gone = False
        self.takes = True
        self.ended = None
        self.live = {TASK: SimpleNamespace(is_stopping=False)}

    def find(self, task_id):
        return self.live.get(task_id)

    async def start(self, task_id, exec_id, command, actor):
        if self.is_gone:
            msg = f"Container {task_id} has ended."
            raise NotFound(msg)
        self.started.append((task_id, command, actor))

    async def read(self, task_id, exec_id, stream, offset):
        for chunk in self.output:
            self.read_chunks += 1
            yield chunk
        while self.ended is None:  # noqa: ASYNC110 — the test is in another thread
            await anyio.sleep(0.005)

    async def write(self, task_id, exec_id, offset, data):
        while not self.takes:  # noqa: ASYNC110
            await anyio.sleep(0.005)
        self.typed.append((offset, data))

    async def wait(self, task_id, exec_id):
        return self.ended

    def resize(self, task_id, exec_id, rows, columns):
        self.sizes.append((rows, columns))

    def stop(self, task_id, exec_id, actor):
        self.stopped.append(actor)


@pytest.fixture
def keyring(tmp_path):
    return Keyring.open(tmp_path)


@pytest.fixture
def access(keyring):
    clock = FakeClock()
    return Access(keyring=keyring, tokens=Tokens(store=MemoryStore(), keyring=keyring, clock=clock), clock=clock)


@pytest.fixture
def execs():
    return FakeExecs()


@pytest.fixture
def visitor(access, execs):
    inner = Starlette(routes=TerminalPages(execs, tasks=execs).routes)
    with TestClient(Starlette(routes=[Mount(ROOT, Guard(inner, access=access, domain="localhost"))]), base_url=HOST) as client:
        yield client


@pytest.fixture
def session(visitor, keyring, access):
    cookie = access.admit_by_token(keyring.token_id, keyring.token_secret)
    visitor.cookies.set("freehold_session", cookie)
    return access.session(cookie)


def connect(visitor, origin=HOST, **headers):
    return visitor.websocket_connect(PATH, headers={"Origin": origin, **headers})


@contextmanager
def opened(visitor, session):
    with connect(visitor) as socket:
        socket.send_json({"csrf": session.csrf, **SIZE})
        yield socket


def end(socket):
    """What is said last, after all else."""
    while True:
        message = socket.receive()
        if "end" in (said := json.loads(message.get("text") or "{}")):
            return said["end"]


def soon(is_so):
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TestWhoMay:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Origin": "https://example.com"}, 403),
            ({"Origin": "http://shop.localhost:8980"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": "http://evil.example:8980", "Host": "evil.example:8980"}, 421),
        ],
    )
    def test_no_page_but_ours_even_with_our_cookie(self, visitor, session, execs, headers, status):
        with pytest.raises(WebSocketDenialResponse) as refused, visitor.websocket_connect(PATH, headers=headers):
            pass
        assert (refused.value.status_code, execs.started) == (status, [])

    def test_none_without_a_login(self, visitor, execs):
        with pytest.raises(WebSocketDenialResponse) as refused, connect(visitor):
            pass
        assert (refused.value.status_code, execs.started) == (401, [])

    @pytest.mark.parametrize("hello", [json.dumps({"csrf": "guessed", **SIZE}), "{}", "[]", "no", json.dumps(SIZE)])
    def test_none_without_the_word_of_the_page(self, visitor, session, execs, hello):
        with connect(visitor) as socket:
            socket.send_text(hello)
            assert end(socket)
        assert execs.started == []

    def test_whoever_may_is_named_in_the_record(self, visitor, session, execs):
        with opened(visitor, session) as socket:
            assert socket.receive_bytes() == b"# "
            [(task_id, command, actor)] = execs.started
            assert (task_id, actor, command.terminal) == (TASK, session.actor, Terminal(rows=24, columns=80))

    def test_at_most_so_many_at_a_time(self, visitor, session, execs, monkeypatch):
        monkeypatch.setattr(terminals, "_MOST", 1)
        with opened(visitor, session):
            soon(lambda: execs.started)
            with opened(visitor, session) as second:
                assert end(second) == "1 terminals are open already. Close one."
        soon(lambda: execs.stopped)
        with opened(visitor, session) as third:
            assert third.receive_bytes() == b"# "


class TestFlow:
    def test_a_page_is_sent_no_more_than_it_draws(self, visitor, session, execs):
        execs.output = [CHUNK] * 20
        with opened(visitor, session) as socket:
            for _ in range(5):
                socket.receive_bytes()
            time.sleep(0.05)
            assert execs.read_chunks <= 6
            socket.send_json({"drawn": 5 * len(CHUNK)})
            for _ in range(5):
                socket.receive_bytes()

    def test_keys_reach_the_shell_in_order_and_each_is_confirmed(self, visitor, session, execs):
        with opened(visitor, session) as socket:
            socket.receive_bytes()
            for keys, so_far in ((b"ls\r", 3), (b"\x03", 4)):
                socket.send_bytes(keys)
                assert socket.receive_json() == {"written": so_far}
            assert execs.typed == [(0, b"ls\r"), (3, b"\x03")]

    def test_while_the_shell_takes_no_keys_the_page_is_heard_on_other_things(self, visitor, session, execs):
        execs.takes = False
        with opened(visitor, session) as socket:
            socket.send_bytes(b"a")
            socket.send_json({"rows": 30, "columns": 100})
            soon(lambda: execs.sizes == [(30, 100)])

    def test_whoever_types_on_without_waiting_is_not_listened_to(self, visitor, session, execs):
        execs.takes = False
        with opened(visitor, session) as socket:
            for _ in range(4):
                socket.send_bytes(b"a" * 1000)
            assert end(socket) == "More was typed than the shell takes."
            assert execs.stopped

    @pytest.mark.parametrize(
        "said", ['{"rows": 0, "columns": 80}', '{"rows": 24}', '{"rows": "24", "columns": 1e99}', '{"drawn": -1}', "nothing"]
    )
    def test_nonsense_ends_it(self, visitor, session, execs, said):
        with opened(visitor, session) as socket:
            socket.send_text(said)
            assert end(socket) == "This is not what a terminal says."
            assert execs.stopped


class TestEnds:
    @pytest.mark.parametrize(
        ("ended", "words"),
        [
            (ExecEnd(code=0), "The shell has ended."),
            (ExecEnd(code=3), "The shell has ended with status 3."),
            (ExecEnd(code=137, reason="Its container has ended."), "Its container has ended."),
        ],
    )
    def test_it_is_said_why(self, visitor, session, execs, ended, words):
        with opened(visitor, session) as socket:
            execs.ended = ended
            assert end(socket) == words
            with pytest.raises(WebSocketDisconnect):
                socket.receive_text()

    @pytest.mark.parametrize("live", [{}, {TASK: SimpleNamespace(is_stopping=True)}])
    def test_a_container_that_ends_is_the_reason_that_is_told(self, visitor, session, execs, live):
        with opened(visitor, session) as socket:
            execs.live = live
            execs.ended = ExecEnd(code=137)
            assert end(socket) == "Its container has ended."

    def test_a_container_that_is_gone_gives_none(self, visitor, session, execs):
        execs.is_gone = True
        with opened(visitor, session) as socket:
            assert end(socket) == f"Container {TASK} has ended."

    def test_a_page_that_leaves_stops_its_shell(self, visitor, session, execs):
        with opened(visitor, session) as socket:
            socket.receive_bytes()
        soon(lambda: execs.stopped == [session.actor])

    def test_a_logout_ends_it(self, visitor, session, execs, access, monkeypatch):
        monkeypatch.setattr(terminals, "_LOOK", 0.005)
        with opened(visitor, session) as socket:
            access.end(session)
            assert end(socket) == "The login that it was opened with has ended."
            assert execs.stopped
