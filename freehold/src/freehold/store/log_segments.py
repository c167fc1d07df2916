"""Segment files of a log: one JSON line per entry, in a file named by the number of its first entry. Blocks on the disk."""

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from freehold.domain.logs import LogEntry, LogFilter, LogSource

_LOOK_BACK = 64 * 1024  # bytes at the end of a file in which the last line is sought first
_SLACK = 200.0  # seconds by which entries may be out of order: containers print on while no engine reads
_BREATH = 500  # lines after which a reading thread lets the engine's loop go first


@dataclass(frozen=True, slots=True)
class Numbered:
    """A log entry with its place: numbers grow by one and are never used again."""

    number: int
    entry: LogEntry


def segments(folder: Path, after: int = 0) -> list[Path]:
    """Those that may hold entries after a number, oldest first."""
    paths = sorted(folder.glob("*.jsonl"))
    while len(paths) > 1 and int(paths[1].stem) <= after + 1:
        del paths[0]
    return paths


def within(paths: list[Path], since: float, until: float) -> list[Path]:
    """Those that may hold entries of a time: a segment ends when the next one begins."""
    if not paths or (since <= 0 and until == float("inf")):
        return paths
    begins = [_begin(path) for path in paths]
    ends = [*(float("inf") if begin is None else begin for begin in begins[1:]), float("inf")]
    return [path for path, begin, end in zip(paths, begins, ends, strict=True) if (begin or 0.0) - _SLACK < until and end + _SLACK > since]


def encoded(item: Numbered) -> bytes:
    entry = item.entry
    fields = [item.number, entry.at, int(entry.source), entry.text, entry.task_id, entry.function_id, entry.input_id, entry.call_id]
    return json.dumps(fields, ensure_ascii=False).encode(errors="replace") + b"\n"


def forwards(paths: Iterable[Path], wanted: LogFilter, after: int = 0) -> Iterator[Numbered]:
    """What is wanted of the entries after a number, oldest first."""
    for path in paths:
        yield from (item for item in _wanted(_since(after, _whole_lines(path)), wanted) if item.number > after)


def backwards(paths: Iterable[Path], wanted: LogFilter) -> Iterator[Numbered]:
    """What is wanted, newest first."""
    for path in reversed(list(paths)):
        yield from _wanted(reversed(_whole_lines(path)), wanted)


def last_entry(path: Path) -> Numbered | None:
    """The last whole entry; None when there is none."""
    end, line = _last_line(path)
    if not end:
        return None
    try:
        return _decoded(line)
    except ValueError:
        return next(backwards([path], LogFilter()), None)


def mend(path: Path) -> None:
    """Take off a line that a crash has cut: the next would become part of it."""
    end, _ = _last_line(path)
    if end < path.stat().st_size:
        os.truncate(path, end)


def _last_line(path: Path) -> tuple[int, bytes]:
    """Where the last whole line ends, and what is in it, sought from the end of the file; 0 when there is none."""
    try:
        size, reach = path.stat().st_size, _LOOK_BACK
        while True:
            with path.open("rb") as file:
                file.seek(max(0, size - reach))
                begun, newline, cut = file.read(reach).rpartition(b"\n")
            _, earlier, line = begun.rpartition(b"\n")
            if newline and (earlier or reach >= size):
                return size - len(cut), line
            if reach >= size:
                return 0, b""
            reach *= 4
    except FileNotFoundError:
        return 0, b""


def _begin(path: Path) -> float | None:
    with suppress(FileNotFoundError), path.open("rb") as file:
        line = file.readline()
        with suppress(ValueError):
            return _decoded(line).entry.at
    return None


def _whole_lines(path: Path) -> list[bytes]:
    try:
        *lines, _unfinished = path.read_bytes().split(b"\n")  # the last is being written, or was when the process died
    except FileNotFoundError:  # the oldest may go while we read
        return []
    return lines


def _wanted(lines: Iterable[bytes], wanted: LogFilter) -> Iterator[Numbered]:
    marks = [text.encode(errors="replace") for text in (_inside_json(wanted.search), wanted.task_id, wanted.call_id) if text]
    is_bounded = wanted.since > 0 or wanted.until < float("inf")
    for count, line in enumerate(lines, start=1):
        if count % _BREATH == 0:
            time.sleep(0.0002)
        with suppress(ValueError, IndexError):  # a power cut may leave a part of the file empty
            if all(mark in line for mark in marks) and (not is_bounded or wanted.since <= _at(line) < wanted.until):
                item = _decoded(line)
                if (entry := wanted.of(item.entry)) is not None:
                    yield Numbered(item.number, entry)


def _inside_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _since(number: int, lines: list[bytes]) -> list[bytes]:
    """Without those that come before, as far as that is known without reading them: numbers grow by one."""
    first = re.match(rb"\[(\d+),", lines[0]) if lines and number else None
    return lines[max(0, number + 1 - int(first[1])) :] if first else lines


def _at(line: bytes) -> float:
    """Without reading the rest: most lines of a segment are of another time."""
    return float(line.split(b", ", 2)[1])


def _decoded(line: bytes) -> Numbered:
    number, at, source, text, task_id, function_id, input_id, call_id = json.loads(line)
    entry = LogEntry(
        at=at, source=LogSource(source), text=text, task_id=task_id, function_id=function_id, input_id=input_id, call_id=call_id
    )
    return Numbered(number, entry)
