"""The stream of one open page: its content when that has changed, and the lines of its log. It ends with the login that it was opened by."""

import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from freehold.control.services.logs import Logs
from freehold.dashboard.access import Session
from freehold.dashboard.contents import signed
from freehold.dashboard.live import Hub, Listener
from freehold.dashboard.log_lines import Line, lines_of
from freehold.domain.logs import LogFilter

_LOGIN_LOOK = 10.0  # seconds between two looks whether the login still counts
_LOG_REST = 0.25  # seconds between two batches of lines
_BATCH = 500  # lines at a time; what a page cannot keep up with is passed over,
_BATCH_LENGTH = 256 * 1024  # and of long ones fewer: characters


class Stream(Response):
    """`text/event-stream`: `content`, and `lines` of a log from a number on. What is sent waits until its reader has taken what was before:
    the log is read on then, and of contents there is only the newest.
    """

    def __init__(
        self,
        hub: Hub,
        listener: Listener,
        *,
        session: Callable[[], Session | None],
        logs: Logs,
        subject: str = "",
        wanted: LogFilter | None = None,
        after: int = 0,
    ) -> None:
        """`session`: that of the login, as long as it counts."""
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self._hub = hub
        self._listener = listener
        self._session = session
        self._logs = logs
        self._subject = subject
        self._wanted = wanted or LogFilter()
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        session = self._session()
        assert session is not None
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send(_chunk(b"retry: 2000\n\n"))
            async with anyio.create_task_group() as group:
                for end in (_left(receive), self._hub.closed.wait(), self._login_ended()):
                    group.start_soon(_cancel_after, end, group.cancel_scope)
                group.start_soon(self._tell_content, send, session)
                if self._subject:
                    group.start_soon(self._tell_lines, send)
        finally:
            self._hub.leave(self._listener)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _tell_content(self, send: Send, session: Session) -> None:
        while True:
            content = await self._listener.content()
            await self._hub.budget.metered(_sent(send, content, session))

    async def _tell_lines(self, send: Send) -> None:
        """At the page's own pace: nothing waits here for one that is slow."""
        async for page in self._logs.follow(self._subject, self._after, math.inf, self._wanted.task_id):
            entries = [(item.number, entry) for item in page if (entry := self._wanted.of(item.entry)) is not None]
            found = [line for _, entry in entries for line in lines_of(entry)]
            if found:
                await send(_chunk(f"id: {page[-1].number}\nevent: lines\ndata: {_as_json(found)}\n\n".encode()))
                await anyio.sleep(_LOG_REST)

    async def _login_ended(self) -> None:
        while self._session() is not None:  # noqa: ASYNC110 — nothing says when a login has had its time
            await anyio.sleep(_LOGIN_LOOK)


async def _sent(send: Send, content: bytes, session: Session) -> None:
    await send(_chunk(b"event: content\ndata: " + signed(content, session) + b"\n\n" if content else b": still here\n\n"))


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel_after(end: Awaitable[None], scope: anyio.CancelScope) -> None:
    await end
    scope.cancel()


def _as_json(lines: Sequence[Line]) -> str:
    shown = _newest(lines)
    told: list[Mapping[str, Any]] = [line.as_json() for line in shown]
    return json.dumps({"left_out": len(lines) - len(shown), "lines": told}, ensure_ascii=True)


def _newest(lines: Sequence[Line]) -> Sequence[Line]:
    """Those that are worth sending at once; one at least."""
    lengths = accumulate(len(line.text) for line in reversed(lines[-_BATCH:]))
    count = sum(length <= _BATCH_LENGTH for length in lengths)
    return lines[-max(count, 1) :]


def _chunk(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


def after_of(request: Request) -> int:
    """Where a reader goes on: after what it got last, or what its page had."""
    text = request.headers.get("last-event-id") or request.query_params.get("after", "0")
    return int(text) if text.isdecimal() and len(text) < 16 else 0  # noqa: PLR2004 — more is no number of ours
