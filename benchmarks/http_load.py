"""The HTTP load generator: raw sockets on uvloop, in a process of its own, the same for every server that is measured.

It counts an answer by its status and Content-Length (or chunks) and parses nothing else, so that it takes little of the cores that it
shares with the server. `load` runs it; as a program it reads what to do as JSON and prints what came of it.
"""

import asyncio
import contextlib
import gc
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import uvloop

_PATIENCE = 30.0  # seconds for the whole to end after its time is up
_MOST_BODIES = 10
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to send, and how. With a `rate`, requests start on time whether or not earlier ones were answered."""

    address: tuple[str, int]
    request: str  # whole and raw
    connections: int
    seconds: float
    rate: float = 0.0  # requests a second over all connections; 0: each connection asks again as soon as it is answered


@dataclass(frozen=True)
class Load:
    """What came back. Milliseconds; `failed` counts answers that were none or not 200, and connections that broke."""

    count: int
    seconds: float
    p50: float
    p99: float
    failed: int
    bodies: dict[str, int]  # distinct bodies, if they are few

    @property
    def per_second(self) -> float:
        return self.count / self.seconds


def get(host: str, path: str = "/") -> str:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"


def post(host: str, body: str, path: str = "/") -> str:
    return f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"


@contextlib.contextmanager
def begun(plan: Plan) -> Iterator[Callable[[], Load]]:
    """The load, under way in another process; called, what yields gives its outcome."""
    generator = subprocess.Popen([sys.executable, __file__, json.dumps(vars(plan))], stdout=subprocess.PIPE, text=True)

    def outcome() -> Load:
        output, _ = generator.communicate(timeout=plan.seconds + _PATIENCE)
        if generator.returncode:
            msg = "The load generator failed."
            raise RuntimeError(msg)
        return Load(**json.loads(output))

    try:
        yield outcome
    finally:
        generator.kill()
        generator.wait()


def load(plan: Plan) -> Load:
    with begun(plan) as outcome:
        return outcome()


class Generator:
    """All connections of one load, and what they have seen."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.request = plan.request.encode()
        self.milliseconds: list[float] = []
        self.failed = 0
        self.bodies: dict[str, int] = {}
        self.is_over = False
        self.idle: list[_Connection] = []
        self.due: list[float] = []  # of a paced load: when requests should have been sent that wait for a connection

    async def run(self) -> dict[str, object]:
        loop = asyncio.get_running_loop()
        connections = [_Connection(self) for _ in range(self.plan.connections)]
        for connection in connections:
            await loop.create_connection(lambda it=connection: it, *self.plan.address)
        started = time.perf_counter()
        await (self._pace(started) if self.plan.rate else self._loop(connections))
        seconds = time.perf_counter() - started
        self.is_over = True
        await self._await_answers(connections)
        for connection in connections:
            connection.close()
        return {"seconds": seconds, "failed": self.failed, "bodies": self.bodies, **self._figures()}

    def _figures(self) -> dict[str, float]:
        return {"count": len(self.milliseconds), "p50": _percentile(self.milliseconds, 0.5), "p99": _percentile(self.milliseconds, 0.99)}

    async def _loop(self, connections: "Sequence[_Connection]") -> None:
        for connection in connections:
            connection.ask(time.perf_counter())
        await asyncio.sleep(self.plan.seconds)

    async def _pace(self, started: float) -> None:
        for number in range(int(self.plan.rate * self.plan.seconds)):
            at = started + number / self.plan.rate
            if (pause := at - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            if self.idle:
                self.idle.pop().ask(at)
            else:
                self.due.append(at)

    async def _await_answers(self, connections: "Sequence[_Connection]") -> None:
        deadline = time.perf_counter() + 10
        while any(connection.asked_at for connection in connections) and time.perf_counter() < deadline:  # noqa: ASYNC110 — nobody tells
            await asyncio.sleep(0.01)
        self.failed += sum(bool(connection.asked_at) for connection in connections) if self.plan.rate else 0

    def answered(self, connection: "_Connection", milliseconds: float, *, is_good: bool, body: bytes) -> None:
        if self.is_over and not self.plan.rate:
            return
        self.milliseconds.append(milliseconds)
        self.failed += not is_good
        if body and (len(self.bodies) < _MOST_BODIES or body.decode() in self.bodies):
            self.bodies[body.decode()] = self.bodies.get(body.decode(), 0) + 1
        if not self.plan.rate:
            connection.ask(time.perf_counter())
        elif self.due:
            connection.ask(self.due.pop(0))
        else:
            self.idle.append(connection)


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, generator: Generator) -> None:
        self.asked_at = 0.0
        self._generator = generator
        self._transport: asyncio.Transport
        self._parts = bytearray()
        self._usual = b""  # head of the first answer, up to its end
        self._usual_size = 0
        self._is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._parts.clear()
        if self._generator.plan.rate:
            self._generator.idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._is_over or self._generator.is_over:
            return
        if self.asked_at:
            self._generator.failed += 1
        self.asked_at = 0.0
        if self in self._generator.idle:
            self._generator.idle.remove(self)
        _again.append(asyncio.ensure_future(self._connect_again()))  # noqa: TID251 — a program of its own, without an engine's rules

    async def _connect_again(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, *self._generator.plan.address)
        except OSError:
            self._generator.failed += 1
            return
        if not self._generator.plan.rate:
            self.ask(time.perf_counter())

    def ask(self, at: float) -> None:
        self.asked_at = at
        self._transport.write(self._generator.request)

    def data_received(self, data: bytes) -> None:
        if not self._parts and len(data) == self._usual_size and data.startswith(b"HTTP/1.1 200"):
            self._done(data)
            return
        self._parts += data
        size = _answer_size(self._parts)
        if size and len(self._parts) >= size:
            whole = bytes(self._parts[:size])
            del self._parts[:size]
            self._usual_size = size
            self._done(whole)

    def _done(self, answer: bytes) -> None:
        took, self.asked_at = (time.perf_counter() - self.asked_at) * 1000, 0.0
        is_good = answer.startswith(b"HTTP/1.1 200")
        body = answer.partition(_END_OF_HEAD)[2][:200] if self._generator.plan.rate else b""
        self._generator.answered(self, took, is_good=is_good, body=body)

    def close(self) -> None:
        self._is_over = True
        self._transport.abort()


_again: list[object] = []  # connections on their way: a collected task ends


def _answer_size(data: bytearray) -> int:
    """Bytes of the first whole answer in there; 0 if it is not whole yet."""
    end = data.find(_END_OF_HEAD)
    if end < 0:
        return 0
    head = bytes(data[:end]).lower()
    start = end + len(_END_OF_HEAD)
    if b"content-length:" in head:
        return start + int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    if b"chunked" in head:
        last = data.find(b"0\r\n\r\n", start)
        return last + 5 if last >= 0 else 0
    return start


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)] if values else 0.0


def _main() -> None:
    said = json.loads(sys.argv[1])
    plan = Plan(**{**said, "address": tuple(said["address"])})
    gc.disable()
    print(json.dumps(uvloop.run(Generator(plan).run())))


if __name__ == "__main__":
    _main()
