"""The container's end of the socket: one connection, made when it is first needed and again whenever it breaks."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Callable

from .frames import ANSWER, CANCEL, HELLO, LONGEST, REFUSED, REPORT, FrameTooLong, Splitter, frame
from .phases import LOOKS, report

_GREETING = 10.0  # seconds for the engine to answer a connection
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5  # seconds between tries to connect again: what is restored answers within seconds


_SOCKET = "inputs.sock"  # beside the control plane's


class Unusable(Exception):
    """Closed for this request, or for all: the stock way must do."""


class Refused(Unusable):
    """The engine was heard, and says no."""


def _nothing(**_: bool) -> bytes:
    return b""


def link_to_engine(held: Callable[[], Mapping[str, int]], *, greeting: int = HELLO) -> Link:
    """As the engine has said in the environment. Raises when it has not."""
    headers = dict(header.split(":", 1) for header in os.environ["MODAL_OVERRIDE_HEADERS"].split(","))
    folder = Path(os.environ["MODAL_SERVER_URL"].removeprefix("unix://")).parent
    told = report if greeting == HELLO else _nothing
    return Link(str(folder / _SOCKET), headers["x-task"], headers["x-task-token"], held, told, greeting=greeting)


class Link:
    """Requests by kind and bytes. `held` says what the container has in hand, for the engine to compare after a break.

    The first connection is made when the container is ready; `report` is what the engine is told then, and some time later, if it is not
    empty.
    """

    def __init__(
        self,
        path: str,
        task_id: str,
        token: str,
        held: Callable[[], Mapping[str, int]],
        report: Callable[..., bytes] = _nothing,
        *,
        greeting: int = HELLO,
    ) -> None:
        self._path = path
        self._greeting = greeting
        self._identity = {"task": task_id, "token": token}
        self._held = held
        self._report = report
        self._wire: _Wire | None = None
        self._connecting: asyncio.Lock | None = None
        self._returning: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.has_worked = False
        self._is_over = False
        self._lost_at = 0.0
        self._pid = os.getpid()
        os.register_at_fork(after_in_child=self._leave_to_parent)

    async def ask(self, kind: int, payload: bytes, *, patience: float) -> bytes:
        """The answer, through as many connections as it takes; Unusable if there is none for `patience` seconds together, or never was.

        A request may reach the engine more than once.
        """
        if len(payload) > LONGEST:
            raise Unusable
        pause = _FIRST_PAUSE
        asked_at = time.monotonic()
        while True:
            try:
                wire = await self._connected()
                pause = _FIRST_PAUSE
                return await wire.ask(kind, payload)
            except OSError as error:
                self._is_over = self._is_over or not self.has_worked
                if self._is_over or time.monotonic() - max(asked_at, self._lost_at) > patience:
                    raise Unusable from error
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 — spreads containers, keeps no secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    def close(self) -> None:
        """Nothing is asked over it any more."""
        self._is_over = True
        if self._wire is not None:
            self._wire.close()

    def _lost(self, wire: _Wire) -> None:
        """Whoever waits for inputs connects again by asking. One that is at work asks nothing, and the next engine must learn of it."""
        if wire is self._wire:
            self._lost_at = time.monotonic()
        is_returning = self._returning is not None and not self._returning.done()
        if wire is self._wire and self._loop is not None and self._held() and not is_returning:
            self._returning = self._loop.create_task(self._return())
            self._returning._log_destroy_pending = False  # type: ignore[attr-defined]  # a container that ends meanwhile says nothing of it

    async def _return(self) -> None:
        """Greet the next engine as soon as it is there, so that it gives what is in hand to nobody else."""
        pause = _FIRST_PAUSE
        while self._held() and not await self._has_returned():
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 — as above
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _has_returned(self) -> bool:
        """Or never will."""
        try:
            await self._connected()
        except OSError:
            return False
        except Unusable:
            pass
        return True

    async def _connected(self) -> _Wire:
        wire = self._wire
        if wire is not None and wire.is_open and self._loop is asyncio.get_running_loop() and self._pid == os.getpid():
            return wire
        return await self._connect()

    async def _connect(self) -> _Wire:
        loop = asyncio.get_running_loop()
        if self._connecting is None:
            self._loop, self._connecting = loop, asyncio.Lock()
        if self._is_over or self._loop is not loop or self._pid != os.getpid():
            raise Unusable
        async with self._connecting:
            if self._wire is None or not self._wire.is_open:
                self._wire = await self._open(loop)
            return self._wire

    async def _open(self, loop: asyncio.AbstractEventLoop) -> _Wire:
        wire = _Wire(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), self._lost)
        try:
            await asyncio.wait_for(self._greet(wire, loop), _GREETING)
        except asyncio.TimeoutError as error:
            wire.close()
            raise ConnectionError from error
        except BaseException:
            wire.close()
            raise
        if not self.has_worked:
            self.has_worked = True
            loop.call_soon(self.report)  # after the request that waits for this connection
            for pause in LOOKS:
                loop.call_later(pause, partial(self.report, is_last=pause == LOOKS[-1]))
        return wire

    def report(self, *, is_last: bool = False) -> None:
        """Tell the engine what there is to tell, if it can be reached."""
        wire = self._wire
        if wire is not None and wire.is_open and self._pid == os.getpid() and (report := self._report(is_last=is_last)):
            wire.tell(REPORT, report)

    async def _greet(self, wire: _Wire, loop: asyncio.AbstractEventLoop) -> None:
        wire.sock.setblocking(False)
        await loop.sock_connect(wire.sock, self._path)
        await loop.create_unix_connection(lambda: wire, sock=wire.sock)
        try:
            await wire.ask(self._greeting, json.dumps({**self._identity, "held": dict(self._held())}).encode())
        except Unusable:
            self._is_over = True
            raise

    def _leave_to_parent(self) -> None:
        """In a forked child: the connection is its parent's. Only this process's descriptor is closed."""
        if self._wire is not None:
            self._wire.sock.close()
            self._wire = None


class _Wire(asyncio.Protocol):
    """One connection, and who waits for what on it."""

    def __init__(self, sock: socket.socket, lost: Callable[[_Wire], None]) -> None:
        self.sock = sock
        self.is_open = False
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._frames = Splitter()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_open = False
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionResetError("the engine has hung up"))
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._frames.feed(data)
        except FrameTooLong:
            self.close()
            return
        for kind, number, payload in frames:
            future = self._waiting.get(number)
            if future is None or future.done():
                continue
            if kind == ANSWER:
                future.set_result(payload)
            elif kind == REFUSED:
                future.set_exception(Refused(payload.decode(errors="replace")))

    async def ask(self, kind: int, payload: bytes) -> bytes:
        if self._transport is None or not self.is_open:
            raise ConnectionResetError
        self._number = number = self._number + 1
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._transport.write(frame(kind, number, payload))
        try:
            return await future
        except asyncio.CancelledError:
            if self.is_open:
                self._transport.write(frame(CANCEL, number))
            raise
        finally:
            del self._waiting[number]

    def tell(self, kind: int, payload: bytes) -> None:
        """Ask, and do not wait for the answer: it is lost if the connection breaks."""
        if self._transport is not None and self.is_open:
            self._number += 1
            self._transport.write(frame(kind, self._number, payload))

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()
        else:
            self.sock.close()
