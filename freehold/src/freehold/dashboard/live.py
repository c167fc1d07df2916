"""Pages that keep up by themselves: one stream for each, which says only that something changed, and carries the lines of its log.

What a page shows has a mark, made of numbers that memory has. Once a second the marks of open pages are compared; those that changed are
told, in turn and no more than so many a second over all pages, since each fetches itself again. A page that has not taken the last
word is not told another: there is one flag for each, and no queue.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import count
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from freehold.control.services.logs import Logs
from freehold.dashboard.log_lines import Line, lines_of
from freehold.domain.errors import ResourceExhausted
from freehold.domain.logs import LogFilter

_TICK = 1.0  # seconds between two looks
_WAKEUPS = 3  # a second, over all pages: each costs a rendering, and all together may cost a twentieth of a core
_MOST = 1000  # open pages
_BEAT = 15.0  # seconds without a word after which one is sent, so that what is gone is noticed
_LOG_REST = 0.25  # seconds between two batches of lines
_BATCH = 500  # lines at a time; what a page cannot keep up with is passed over
_FOLLOW = 3600.0

Mark = Callable[[], Hashable]


class Listener:
    """One open page."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark
        self._seen = mark()
        self._flag = anyio.Event()

    def look(self) -> bool:
        """Whether what it shows has changed since this was last true."""
        mark = self._mark()
        has_changed, self._seen = mark != self._seen, mark
        return has_changed

    def wake(self) -> None:
        self._flag.set()

    async def woken(self) -> bool:
        """False after some seconds without a change."""
        with anyio.move_on_after(_BEAT):
            await self._flag.wait()
        was_set = self._flag.is_set()
        self._flag = anyio.Event()
        return was_set


class Hub:
    """All open pages. `run` until the engine stops; then they end."""

    def __init__(self) -> None:
        self._listeners: dict[int, Listener] = {}
        self._due: OrderedDict[int, None] = OrderedDict()
        self._numbers = count()
        self._some = anyio.Event()
        self.closed = anyio.Event()

    def __len__(self) -> int:
        return len(self._listeners)

    def join(self, mark: Mark) -> tuple[int, Listener]:
        if len(self._listeners) >= _MOST:
            msg = f"{_MOST} pages follow the engine already. Close some."
            raise ResourceExhausted(msg)
        number, listener = next(self._numbers), Listener(mark)
        self._listeners[number] = listener
        self._some.set()
        return number, listener

    def leave(self, number: int) -> None:
        self._listeners.pop(number, None)
        self._due.pop(number, None)

    async def run(self) -> None:
        try:
            while True:
                if not self._listeners:
                    self._some = anyio.Event()
                    await self._some.wait()
                await anyio.sleep(_TICK)
                self.tick()
        finally:
            self.closed.set()

    def tick(self) -> None:
        """Who changed joins the end of the line; the first of it are told."""
        for number, listener in self._listeners.items():
            if listener.look():
                self._due.setdefault(number)
        for _ in range(min(int(_WAKEUPS * _TICK), len(self._due))):
            number, _ = self._due.popitem(last=False)
            self._listeners[number].wake()


class Stream(Response):
    """`text/event-stream`: `changed`, and `lines` of a log from a number on."""

    def __init__(self, hub: Hub, mark: Mark, *, logs: Logs, subject: str = "", wanted: LogFilter | None = None, after: int = 0) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self._hub = hub
        self._mark = mark
        self._logs = logs
        self._subject = subject
        self._wanted = wanted or LogFilter()
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        number, listener = self._hub.join(self._mark)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send(_chunk("retry: 2000\n\n"))
            async with anyio.create_task_group() as group:
                group.start_soon(self._until_left, receive, group.cancel_scope)
                group.start_soon(self._until_closed, group.cancel_scope)
                group.start_soon(self._tell_changes, listener, send)
                if self._subject:
                    group.start_soon(self._tell_lines, send)
        finally:
            self._hub.leave(number)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _tell_changes(self, listener: Listener, send: Send) -> None:
        while True:
            await send(_chunk("event: changed\ndata:\n\n" if await listener.woken() else ": still here\n\n"))

    async def _tell_lines(self, send: Send) -> None:
        """At the page's own pace: nothing waits here for one that is slow."""
        async for page in self._logs.follow(self._subject, self._after, _FOLLOW, self._wanted.task_id):
            entries = [(item.number, entry) for item in page if (entry := self._wanted.of(item.entry)) is not None]
            found = [line for _, entry in entries for line in lines_of(entry)]
            if found:
                await send(_chunk(f"id: {page[-1].number}\nevent: lines\ndata: {_as_json(found)}\n\n"))
                await anyio.sleep(_LOG_REST)

    async def _until_left(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async def _until_closed(self, scope: anyio.CancelScope) -> None:
        await self._hub.closed.wait()
        scope.cancel()


def _as_json(lines: Sequence[Line]) -> str:
    left_out = len(lines) - _BATCH
    shown: list[Mapping[str, Any]] = [line.as_json() for line in lines[-_BATCH:]]
    return json.dumps({"left_out": max(left_out, 0), "lines": shown}, ensure_ascii=True)


def _chunk(text: str) -> dict[str, Any]:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}


def after_of(request: Request) -> int:
    """Where a reader goes on: after what it got last, or what its page had."""
    text = request.headers.get("last-event-id") or request.query_params.get("after", "0")
    return int(text) if text.isdecimal() and len(text) < 16 else 0  # noqa: PLR2004 — more is no number of ours
