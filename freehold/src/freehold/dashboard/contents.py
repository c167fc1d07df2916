"""What is new of a page that is open: its content without the frame and the log, which a browser puts in place of what it has."""

import json
import secrets
from http import HTTPStatus

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message

from freehold.dashboard.access import ROOT, Session
from freehold.dashboard.acting import PART
from freehold.dashboard.guard import SESSION

_PATIENCE = 10.0  # seconds for one page: others wait for their turn
_NOBODY = Session("", secrets.token_hex(32))  # whose word against forgery stands in what is rendered, until it is somebody's


class Contents:
    """`app` is that of the pages, behind the guard: whoever has a stream may see each of them, so all may have the same content."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def of(self, page: str) -> bytes:
        """Of a path and query below the root, as JSON of the HTML; empty where there is no such page, or it fails. `signed` makes it somebody's."""
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        with anyio.move_on_after(_PATIENCE):
            try:
                await self._app(_scope(page), _nothing_more, keep)
            except Exception:  # noqa: BLE001 — an edge: the application has logged what failed, and other pages go on
                return b""
        return _content(messages)


def signed(content: bytes, session: Session) -> bytes:
    return content.replace(_NOBODY.csrf.encode(), session.csrf.encode())


def _content(messages: list[Message]) -> bytes:
    if not messages or messages[0]["status"] != HTTPStatus.OK:
        return b""
    if not Headers(raw=messages[0]["headers"]).get("content-type", "").startswith("text/html"):
        return b""
    return json.dumps(b"".join(message["body"] for message in messages[1:]).decode()).encode()


def _scope(page: str) -> dict[str, object]:
    path, _, query = page.partition("?")
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "root_path": ROOT,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"accept", b"text/html")],
        SESSION: _NOBODY,
        PART: True,
    }


async def _nothing_more() -> Message:
    return {"type": "http.disconnect"}
