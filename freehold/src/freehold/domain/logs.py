"""Log lines as containers wrote them, what readers ask for, and what the engine itself has to say in an app's log."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import IntEnum

from freehold.domain.tasks import ExitKind, TaskExit

_LINES_OF_ONE_PIECE = 32  # from so many that were read at once, they stay together: nobody reads a flood line by line


class LogSource(IntEnum):
    """Numbered as on the wire (`FileDescriptor`)."""

    STDOUT = 1
    STDERR = 2
    SYSTEM = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """A piece of output: usually whole lines, never re-encoded. `at` is seconds since the epoch."""

    at: float
    source: LogSource
    text: str
    task_id: str = ""
    function_id: str = ""
    input_id: str = ""
    call_id: str = ""

    @property
    def line_count(self) -> int:
        return self.text.count("\n") + (not self.text.endswith("\n"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Empty fields match everything. Times are seconds since the epoch; `until` itself is left out. `search` is a part of a line."""

    since: float = 0.0
    until: float = float("inf")
    source: int = 0
    task_id: str = ""
    function_ids: Collection[str] = field(default=frozenset())
    call_id: str = ""
    search: str = ""

    def of(self, entry: LogEntry) -> LogEntry | None:
        """What is wanted of an entry: all of it, the lines that contain the text, or nothing."""
        if not self._matches(entry):
            return None
        if not self.search:
            return entry
        found = "".join(line for line in lines(entry.text) if self.search in line)
        return replace(entry, text=found) if found else None

    def _matches(self, entry: LogEntry) -> bool:
        return (
            self.since <= entry.at < self.until
            and (not self.source or self.source == entry.source)
            and (not self.task_id or self.task_id == entry.task_id)
            and (not self.function_ids or entry.function_id in self.function_ids)
            and (not self.call_id or self.call_id == entry.call_id)
        )


def lines(text: str) -> list[str]:
    """With their ends. Only a newline ends a line: progress bars live of carriage returns."""
    *whole, rest = text.split("\n")
    return [line + "\n" for line in whole] + ([rest] if rest else [])


def last_lines(entry: LogEntry, count: int) -> LogEntry:
    return replace(entry, text="".join(lines(entry.text)[-count:]))


def piece_count(entry: LogEntry) -> int:
    count = entry.line_count
    return count if count <= _LINES_OF_ONE_PIECE else 1


def pieces(entry: LogEntry) -> Iterator[LogEntry]:
    """As people are shown it: line by line, but a flood as it came."""
    if piece_count(entry) == 1:
        yield entry
    else:
        yield from (replace(entry, text=line) for line in lines(entry.text))


def exit_notice(end: TaskExit, pause: timedelta) -> str:
    """What an app's log says of the end of a container; nothing when it ended as it should. `pause`: before the next start."""
    again = f" The next start is tried in {pause.total_seconds():g} s." if pause else ""
    match end.kind:
        case ExitKind.OUT_OF_MEMORY:
            return f"The container ran out of memory and was killed.{again}"
        case ExitKind.CRASHED:
            return f"The container exited with code {end.code}.{again}"
        case ExitKind.NOT_STARTED:
            return f"The container could not be started: {end.detail}{again}"
        case _:
            return ""
