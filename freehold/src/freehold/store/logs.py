"""Logs of apps and image builds: appended as they come, bounded in size, readable from any point by sequence number.

A log is a folder of segment files with one JSON line per entry. The newest entries are also in memory, so that those who follow a
log do not read files. What the process has written survives its death; a power cut may take the last seconds.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from itertools import islice
from pathlib import Path

from freehold.domain.logs import LogEntry, LogSource

_SEGMENT_BYTES = 4 * 1024 * 1024
_SEGMENTS = 4  # at least so many to a log, so that what goes at once is a part of it
_RECENT = 5_000  # entries kept in memory per open log
_RECENT_LENGTH = 4 * 1024 * 1024  # characters of them, all together


@dataclass(frozen=True, slots=True)
class Numbered:
    """A log entry with its place: numbers grow by one and are never used again."""

    number: int
    entry: LogEntry


class _Log:
    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._segment_bytes = min(_SEGMENT_BYTES, limit // _SEGMENTS)
        self._most_segments = limit // self._segment_bytes
        self._recent: deque[Numbered] = deque()
        self._recent_length = 0
        self._file: FileIO | None = None
        self._next = self._last_number() + 1

    def append(self, entries: Sequence[LogEntry]) -> None:
        numbered = [Numbered(self._next + i, entry) for i, entry in enumerate(entries)]
        data = b"".join(map(_line, numbered))
        self._writer(len(data)).write(data)
        self._next += len(entries)
        self._remember(numbered)

    def recent(self, number: int, limit: int) -> list[Numbered] | None:
        first = self._recent[0].number if self._recent else self._next
        if number + 1 < first:
            return None
        return list(islice((item for item in self._recent if item.number > number), limit))

    def matching(self, wanted: Callable[[Numbered], bool], limit: int, after: int = 0) -> list[Numbered]:
        items = (item for path in self._segments(after) for item in _items(path) if item.number > after and wanted(item))
        return list(islice(items, limit))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _remember(self, items: Sequence[Numbered]) -> None:
        self._recent.extend(items)
        self._recent_length += sum(len(item.entry.text) for item in items)
        while len(self._recent) > _RECENT or self._recent_length > _RECENT_LENGTH:
            self._recent_length -= len(self._recent.popleft().entry.text)

    def _writer(self, size: int) -> FileIO:
        """A segment with room for this much more. A single piece may be larger than a segment."""
        if self._file is not None and self._file.tell() + size > self._segment_bytes:
            self.close()
        if self._file is None:
            self._file = FileIO(self._segment_for(size), "a")
        return self._file

    def _segment_for(self, size: int) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        segments = self._segments()
        if segments:
            _mend(segments[-1])
            if segments[-1].stat().st_size + size <= self._segment_bytes:
                return segments[-1]
        for path in segments[: -(self._most_segments - 1)]:
            path.unlink()
        return self._folder / f"{self._next:012d}.jsonl"

    def _segments(self, after: int = 0) -> list[Path]:
        """Those that may hold entries after a number, oldest first: a segment has the number of its first entry."""
        paths = sorted(self._folder.glob("*.jsonl"))
        while len(paths) > 1 and int(paths[1].stem) <= after + 1:
            del paths[0]
        return paths

    def _last_number(self) -> int:
        segments = self._segments()
        if not segments:
            return 0
        numbers = [item.number for item in _items(segments[-1])]
        return numbers[-1] if numbers else int(segments[-1].stem) - 1


class LogStore:
    """Logs by the id of what they belong to: an app or an image."""

    def __init__(self, folder: Path, *, bytes_per_log: int) -> None:
        self._folder = folder
        self._limit = bytes_per_log
        self._logs: dict[str, _Log] = {}

    def append(self, subject: str, entries: Sequence[LogEntry]) -> None:
        if entries:
            self._log(subject).append(entries)

    def recent(self, subject: str, number: int, limit: int = 1000) -> list[Numbered] | None:
        """Entries with a higher number, oldest first, as far as they are in memory; None if the first of them is on disk only."""
        return self._log(subject).recent(number, limit)

    def after(self, subject: str, number: int, limit: int = 1000) -> list[Numbered]:
        """Entries with a higher number, oldest first. Reads files: call it in a thread."""
        return self._log(subject).matching(lambda _: True, limit, number)

    def matching(self, subject: str, wanted: Callable[[Numbered], bool], limit: int) -> list[Numbered]:
        """Entries that are wanted, oldest first. Reads files: call it in a thread."""
        return self._log(subject).matching(wanted, limit)

    def release(self, subject: str) -> None:
        """Nobody writes to this log for now: close its file and forget what is in memory."""
        if (log := self._logs.pop(subject, None)) is not None:
            log.close()

    def close(self) -> None:
        for subject in list(self._logs):
            self.release(subject)

    def _log(self, subject: str) -> _Log:
        if subject not in self._logs:
            self._logs[subject] = _Log(self._folder / subject, self._limit)
        return self._logs[subject]


def _line(item: Numbered) -> bytes:
    entry = item.entry
    fields = [item.number, entry.at, int(entry.source), entry.text, entry.task_id, entry.function_id, entry.input_id, entry.call_id]
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


def _mend(path: Path) -> None:
    """Take off a line that a crash has cut: the next would become part of it."""
    with path.open("r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


def _items(path: Path) -> Iterator[Numbered]:
    with suppress(FileNotFoundError), path.open("rb") as lines:  # the oldest may go while we read
        for line in lines:
            if not line.endswith(b"\n"):
                return  # it is being written, or the process died while writing it
            number, at, source, text, task_id, function_id, input_id, call_id = json.loads(line)
            entry = LogEntry(
                at=at,
                source=LogSource(source),
                text=text,
                task_id=task_id,
                function_id=function_id,
                input_id=input_id,
                call_id=call_id,
            )
            yield Numbered(number, entry)
