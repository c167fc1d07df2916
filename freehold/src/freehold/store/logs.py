"""Logs of apps and image builds: appended as they come, bounded in size and age, readable from any point by sequence number.

A log is a folder of segment files. The newest entries are also in memory, so that those who follow a log do not read files. What the
process has written survives its death; a power cut may take the last seconds.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice, takewhile
from pathlib import Path

from freehold.domain.logs import LogEntry, LogFilter, LogSource, last_lines, piece_count
from freehold.domain.retention import StoredSegment, segments_to_delete
from freehold.store import log_segments
from freehold.store.log_segments import Numbered
from freehold.store.log_writer import LogWriter

__all__ = ["LogStore", "Numbered"]

_RECENT = 5_000  # entries kept in memory per log that is written to
_RECENT_LENGTH = 4 * 1024 * 1024  # characters of them, all together
_PAGE_LENGTH = 1024 * 1024  # characters after which a page ends: it becomes one message
_EVERYTHING = LogFilter()
# What the client plans with: it fetches as many entries at once as would be 4 MiB at 200 bytes each.
_WEIGHT = 2048


class _Log:
    """What is known of one log without its files."""

    def __init__(self, last_number: int) -> None:
        self.next = last_number + 1
        self.left_out = 0
        self._recent: deque[Numbered] = deque()
        self._length = 0

    def number(self, entries: Sequence[LogEntry]) -> list[Numbered]:
        numbered = [Numbered(self.next + i, entry) for i, entry in enumerate(entries)]
        self.next += len(entries)
        self._recent.extend(numbered)
        self._length += sum(len(entry.text) for entry in entries)
        while len(self._recent) > _RECENT or self._length > _RECENT_LENGTH:
            self._length -= len(self._recent.popleft().entry.text)
        return numbered

    def after(self, number: int, limit: int) -> list[Numbered] | None:
        first = self._recent[0].number if self._recent else self.next
        if number + 1 < first:
            return None
        newer = list(takewhile(lambda item: item.number > number, reversed(self._recent)))
        return _page(newer[::-1], limit)

    def forget(self) -> None:
        self._recent.clear()
        self._length = 0


class LogStore:
    """Logs by the id of what they belong to: an app or an image. What reads files is to be called in a thread."""

    def __init__(self, folder: Path, *, bytes_per_log: int) -> None:
        self._folder = folder
        self._writer = LogWriter(limit=bytes_per_log)
        self._logs: dict[str, _Log] = {}

    def append(self, subject: str, entries: Sequence[LogEntry]) -> None:
        """Never waits. When the disk is so slow that memory would fill, entries are left out, and the log says how many lines."""
        if not entries:
            return
        log = self._log(subject)
        if not self._writer.has_room:
            log.left_out += sum(entry.line_count for entry in entries)
            return
        if log.left_out:
            text = f"{log.left_out} lines are missing here: the disk was too slow for them.\n"
            entries = [LogEntry(at=entries[0].at, source=LogSource.SYSTEM, text=text), *entries]
            log.left_out = 0
        numbered = log.number(entries)
        self._writer.put(self._folder / subject, numbered[0].number, b"".join(map(log_segments.encoded, numbered)))

    def recent(self, subject: str, number: int, limit: int = 1000) -> list[Numbered] | None:
        """Entries with a higher number, oldest first, as far as they are in memory; None if the first of them is on disk only."""
        return self._log(subject).after(number, limit)

    def after(self, subject: str, number: int, limit: int = 1000) -> list[Numbered]:
        """Entries with a higher number, oldest first. Reads files."""
        return _page(log_segments.forwards(self._segments(subject, after=number), _EVERYTHING, number), limit)

    def newest(self, subject: str, wanted: LogFilter, lines: int) -> list[Numbered]:
        """The last so many lines that are wanted, oldest first. Reads files, from their end."""
        found: list[Numbered] = []
        left = lines
        for item in log_segments.backwards(self._segments(subject, wanted), wanted):
            found.append(Numbered(item.number, last_lines(item.entry, left)))
            left -= item.entry.line_count
            if left <= 0:
                break
        return found[::-1]

    def all(self, subject: str, wanted: LogFilter, limit: int) -> list[Numbered]:
        """Everything that is wanted, oldest first, up to a limit in what `count` counts. Reads files."""
        found: list[Numbered] = []
        for item in log_segments.forwards(self._segments(subject, wanted), wanted):
            limit -= _weight(item.entry)
            if limit < 0:
                break
            found.append(item)
        return found

    def count(self, subject: str, wanted: LogFilter, width: int) -> Mapping[tuple[int, LogSource], int]:
        """How much there is, by the beginning of its time span of `width` seconds and by source; a long piece counts as several."""
        counts: Counter[tuple[int, LogSource]] = Counter()
        for item in log_segments.forwards(self._segments(subject, wanted), wanted):
            counts[int(item.entry.at // width) * width, item.entry.source] += _weight(item.entry)
        return counts

    def prune(self, now: datetime, *, ttl: timedelta, total_bytes: int) -> int:
        """Delete segments that are too old, then the oldest until the rest is no more than so many bytes. How many went. Reads files."""
        self._writer.flush()
        gone = segments_to_delete(self._inventory(), now=now, ttl=ttl, total_bytes=total_bytes)
        self._writer.delete(Path(segment.path) for segment in gone)
        return len(gone)

    def release(self, subject: str) -> None:
        """Nobody writes to this log for now: close its file and forget what is in memory."""
        if (log := self._logs.get(subject)) is not None:
            log.forget()
            self._writer.rest(self._folder / subject)

    def close(self) -> None:
        self._writer.close()

    def _log(self, subject: str) -> _Log:
        if subject not in self._logs:
            self._logs[subject] = _Log(self._last_number(subject))
        return self._logs[subject]

    def _last_number(self, subject: str) -> int:
        """Of a log that this process has not written to."""
        paths = log_segments.segments(self._folder / subject)
        if not paths:
            return 0
        last = log_segments.last_entry(paths[-1])
        return last.number if last else int(paths[-1].stem) - 1

    def _segments(self, subject: str, wanted: LogFilter = _EVERYTHING, *, after: int = 0) -> list[Path]:
        self._writer.flush()
        return log_segments.within(log_segments.segments(self._folder / subject, after), wanted.since, wanted.until)

    def _inventory(self) -> list[StoredSegment]:
        found = []
        for path in self._folder.glob("*/*.jsonl"):
            with suppress(FileNotFoundError):
                last, stat = log_segments.last_entry(path), path.stat()
                found.append(StoredSegment(path=path, size=stat.st_size, ended_at=last.entry.at if last else stat.st_mtime))
        return found


def _page(items: Iterable[Numbered], limit: int) -> list[Numbered]:
    page: list[Numbered] = []
    length = 0
    for item in islice(items, limit):
        page.append(item)
        length += len(item.entry.text)
        if length >= _PAGE_LENGTH:
            break
    return page


def _weight(entry: LogEntry) -> int:
    """As many as the pieces that people are shown, and more for long ones."""
    return piece_count(entry) + len(entry.text) // _WEIGHT
