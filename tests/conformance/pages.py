"""A page of the engine that is open, without a browser: its stream, which comes back as a browser's would."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlencode

from conformance.engine import Engine
from conformance.waiting import eventually

_PATIENCE = 60.0  # seconds; after fifteen without news there is a sign of life


class AppPage:
    """The page of an app, with its log."""

    def __init__(self, engine: Engine, app_id: str) -> None:
        self._engine = engine
        self._path = "/dash/stream?" + urlencode({"page": f"/dash/apps/{app_id}", "watch": app_id, "log": app_id})
        self._last_id = ""
        self._events: Iterator[tuple[str, str]] = iter(())
        self.lines: list[str] = []
        self.contents: list[str] = []

    def read_until(self, fact: Callable[[], bool]) -> None:
        """Whenever the stream ends before, it is opened again from there on."""
        while not fact():
            try:
                self._take(*next(self._events))
            except (StopIteration, OSError, HTTPException):
                self._events = _events(eventually(self._opened, within=_PATIENCE, what="A stream"))

    def read_to_its_end(self) -> None:
        """Raises if it is cut off."""
        for event in self._events:
            self._take(*event)

    def _opened(self) -> HTTPConnection | None:
        token = ":".join((self._engine.credentials["MODAL_TOKEN_ID"], self._engine.credentials["MODAL_TOKEN_SECRET"]))
        connection = HTTPConnection("127.0.0.1", self._engine.gateway_port, timeout=_PATIENCE)
        try:
            connection.request("GET", self._path, headers={"Authorization": f"Bearer {token}", "Last-Event-ID": self._last_id})
        except OSError:
            connection.close()
            return None
        return connection

    def _take(self, name: str, text: str) -> None:
        if name == "id":
            self._last_id = text
        elif name == "lines":
            self.lines += [line["text"] for line in json.loads(text)["lines"]]
        elif name == "content":
            self.contents.append(json.loads(text))


def _events(connection: HTTPConnection) -> Iterator[tuple[str, str]]:
    kind = ""
    with closing(connection), connection.getresponse() as answer:
        assert answer.status == 200
        while line := answer.readline().decode():
            field, _, value = line.rstrip("\n").partition(": ")
            if field == "event":
                kind = value
            elif field == "data":
                yield kind, value
            elif field == "id":
                yield field, value
        assert not answer.read()
