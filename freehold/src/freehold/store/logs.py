"""Logs of apps and image builds: appended as they come, bounded in size, readable from any point by sequence number.

A log is a folder of segment files with one JSON line per entry. The newest entries are also in memory, so that those who follow a
log do not read files. What the process has written survives its death; a power cut may take the last seconds.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from freehold.domain.logs import LogEntry, LogSource

_SEGMENT_BYTES = 4 * 1024 * 1024
_RECENT = 5_000  # entries kept in memory per open log


@dataclass(frozen=True, slots=True)
class Numbered:
    """A log entry with its place: numbers grow by one and are never used again."""

    number: int
    entry: LogEntry


class _Log:
    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self.recent: deque[Numbered] = deque(maxlen=_RECENT)
        self._file: FileIO | None = None
        self.next = self._last_number() + 1

    def append(self, entries: Sequence[LogEntry]) -> None:
        numbered = [Numbered(self.next + i, entry) for i, entry in enumerate(entries)]
        self.next += len(entries)
        self.recent.extend(numbered)
        self._writer().write(b"".join(map(_line, numbered)))

    def after(self, number: int, limit: int) -> list[Numbered]:
        if self.recent and self.recent[0].number <= number + 1:
            return [item for item in self.recent if item.number > number][:limit]
        return self.matching(lambda item: item.number > number, limit)

    def matching(self, wanted: Callable[[Numbered], bool], limit: int) -> list[Numbered]:
        found: list[Numbered] = []
        for path in self._segments():
            for item in _items(path):
                if wanted(item):
                    found.append(item)
                if len(found) >= limit:
                    return found
        return found

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _writer(self) -> FileIO:
        if self._file is not None and self._file.tell() >= _SEGMENT_BYTES:
            self.close()
            self._drop_oldest()
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            segments = self._segments()
            reuse = segments and segments[-1].stat().st_size < _SEGMENT_BYTES
            path = segments[-1] if reuse else self._folder / f"{self.next:012d}.jsonl"
            self._file = FileIO(path, "a")
        return self._file

    def _drop_oldest(self) -> None:
        for path in self._segments()[: -max(self._limit // _SEGMENT_BYTES, 1)]:
            path.unlink()

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl")) if self._folder.exists() else []

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

    def after(self, subject: str, number: int, limit: int = 1000) -> list[Numbered]:
        """Entries with a higher number, oldest first."""
        return self._log(subject).after(number, limit)

    def matching(self, subject: str, wanted: Callable[[Numbered], bool], limit: int) -> list[Numbered]:
        """Reads files: call it in a thread."""
        return self._log(subject).matching(wanted, limit)

    def last_number(self, subject: str) -> int:
        return self._log(subject).next - 1

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


def _items(path: Path) -> Iterator[Numbered]:
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                return  # the process died while writing it
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
