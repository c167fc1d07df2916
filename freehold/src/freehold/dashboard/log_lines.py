"""Lines of logs as pages show them: time, where they came from, text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from freehold.control.services.logs import Logs
from freehold.dashboard.acting import is_whole
from freehold.dashboard.views import plain
from freehold.domain.logs import LogEntry, LogFilter, LogSource, pieces

SHOWN = 200
_LONGEST = 4000  # characters of one line
_SOURCES = {LogSource.STDOUT: "out", LogSource.STDERR: "err", LogSource.SYSTEM: "engine"}


@dataclass(frozen=True, slots=True)
class Line:
    at: str
    source: str
    task_id: str
    text: str

    def as_json(self) -> Mapping[str, Any]:
        return {"at": self.at, "source": self.source, "task": self.task_id, "text": self.text}


@dataclass(frozen=True, slots=True)
class Log:
    """The end of a log; its stream goes on `after` a number. `query` is what says whose it is."""

    lines: Sequence[Line]
    after: int
    query: str
    is_live: bool = True


def lines_of(entry: LogEntry) -> Iterable[Line]:
    at = _clock(datetime.fromtimestamp(entry.at, UTC))
    source = _SOURCES.get(entry.source, "out")
    for piece in pieces(entry):
        for text in plain(piece.text).rstrip("\n").split("\n"):
            yield Line(at, source, entry.task_id, text.rpartition("\r")[2][:_LONGEST])


async def end_of(request: Request, logs: Logs, subject: str, wanted: LogFilter, query: str, *, is_live: bool = True) -> Log:
    """The last lines that match. Where none does, its stream begins with what comes from now on. A page that is open has them already."""
    if not is_whole(request):
        return Log((), 0, query, is_live)
    found = await logs.newest(subject, wanted, SHOWN)
    lines = [line for item in found for line in lines_of(item.entry)]
    last = found or await logs.newest(subject, LogFilter(), 1)
    return Log(lines[-SHOWN:], last[-1].number if last else 0, query, is_live)


def _clock(at: datetime) -> str:
    """The date too, where it is not today's."""
    day = "" if at.date() == datetime.now(UTC).date() else at.strftime("%Y-%m-%d ")
    return day + at.strftime("%H:%M:%S.%f")[:-3]
