"""Pages that keep up by themselves: whoever has one open is given its content when what it shows has changed.

What a page shows has a mark, made of numbers that memory has. Once a second the marks of open pages are compared, and those that changed
are rendered in turn, once for all who have the same one open, as long as the budget lasts: one page is live within a second, hundreds that
change all the time share what there is. A page that has not taken its last content is given the newest in its place: there is no queue.
"""

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

import anyio

from freehold.dashboard.budget import Budget
from freehold.domain.errors import ResourceExhausted

_TICK = 1.0  # seconds between two looks
_MOST = 1000  # open pages
_BEAT = 15.0  # seconds without a word after which one is sent, so that what is gone is noticed
_NOTHING_YET = object()


class Listener:
    """One open page: its address, and whom it is about (empty: it shows nothing that changes)."""

    def __init__(self, page: str, subject: str) -> None:
        self.page = page
        self.subject = subject
        self._seen: Hashable = _NOTHING_YET  # something may have happened between the page and its stream
        self._content = b""
        self._given = anyio.Event()

    def has_changed(self, mark: Hashable) -> bool:
        """Since this was last true."""
        changed, self._seen = mark != self._seen, mark
        return changed

    def give(self, content: bytes) -> None:
        self._content = content
        self._given.set()

    async def content(self) -> bytes:
        """The newest, once; empty after some seconds without one."""
        with anyio.move_on_after(_BEAT):
            await self._given.wait()
        self._given = anyio.Event()
        content, self._content = self._content, b""
        return content


class Hub:
    """All open pages. `run` until the engine stops; then they end."""

    def __init__(self, mark_of: Callable[[str], Hashable], content_of: Callable[[str], Coroutine[Any, Any, bytes]], budget: Budget) -> None:
        self._mark_of = mark_of
        self._content_of = content_of
        self.budget = budget
        self._listeners: dict[Listener, None] = {}
        self._due: OrderedDict[str, dict[Listener, None]] = OrderedDict()  # by page
        self._some = anyio.Event()
        self.closed = anyio.Event()

    def __len__(self) -> int:
        return len(self._listeners)

    def join(self, page: str, subject: str) -> Listener:
        if len(self._listeners) >= _MOST:
            msg = f"{_MOST} pages follow the engine already. Close some."
            raise ResourceExhausted(msg)
        listener = Listener(page, subject)
        self._listeners[listener] = None
        self._some.set()
        return listener

    def leave(self, listener: Listener) -> None:
        self._listeners.pop(listener, None)
        if (waiting := self._due.get(listener.page)) is not None:
            waiting.pop(listener, None)

    async def run(self) -> None:
        try:
            while True:
                if not self._listeners:
                    self._some = anyio.Event()
                    await self._some.wait()
                await anyio.sleep(_TICK)
                await self.tick()
        finally:
            self.closed.set()

    async def tick(self) -> None:
        """Pages that changed join the line; the first of it are rendered and given out."""
        self.budget.earn(_TICK)
        self._look()
        turns = len(self._due)
        while turns and self.budget.is_left:
            turns -= 1
            page, waiting = self._due.popitem(last=False)
            content = await self.budget.metered(self._content_of(page)) if waiting else b""
            for listener in waiting if content else ():
                listener.give(content)

    def _look(self) -> None:
        marks: dict[str, Hashable] = {"": None}
        for listener in self._listeners:
            if not listener.subject:
                continue
            if listener.subject not in marks:
                marks[listener.subject] = self._mark_of(listener.subject)
            if listener.has_changed(marks[listener.subject]):
                self._due.setdefault(listener.page, {})[listener] = None
