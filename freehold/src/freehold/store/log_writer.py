"""Writes logs to disk in a thread of its own: a slow or full disk must not hold up the engine, nor a container that prints."""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from contextlib import suppress
from io import FileIO
from pathlib import Path

import structlog

from freehold.store import log_segments

log = structlog.get_logger(__name__)

_SEGMENT_BYTES = 4 * 1024 * 1024
_SEGMENTS = 4  # at least so many to a log, so that what goes at once is a part of it
_OPEN_FILES = 128
_WAITING_BYTES = 32 * 1024 * 1024  # in memory, for a disk that is slow


class LogWriter:
    """Appends whole entries to the segments of logs, in the order in which they were put. `limit` bounds the bytes of one log."""

    def __init__(self, *, limit: int) -> None:
        self._segment_bytes = min(_SEGMENT_BYTES, limit // _SEGMENTS)
        self._most_segments = limit // self._segment_bytes
        self._waiting: deque[tuple[Path, int, bytes]] = deque()
        self._waiting_bytes = 0
        self._put = self._written = 0  # entries of `_waiting`, counted from the beginning
        self._changed = threading.Condition()
        self._files = threading.RLock()  # held by whoever opens, writes or deletes segments
        self._open: OrderedDict[Path, FileIO] = OrderedDict()
        self._is_failing = False
        self._is_closed = False
        self._thread: threading.Thread | None = None

    @property
    def has_room(self) -> bool:
        return self._waiting_bytes < _WAITING_BYTES

    def put(self, folder: Path, number: int, data: bytes) -> None:
        """Append to the log in this folder; `number` is that of the first entry in the data. Never waits."""
        with self._changed:
            if self._is_closed:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
                self._thread.start()
            self._waiting.append((folder, number, data))
            self._waiting_bytes += len(data)
            self._put += 1
            self._changed.notify_all()

    def flush(self, seconds: float = 5.0) -> None:
        """Wait until what was put before is on disk, or has failed."""
        with self._changed:
            wanted = self._put
            self._changed.wait_for(lambda: self._written >= wanted, seconds)

    def rest(self, folder: Path) -> None:
        """Nobody writes to this log for now: its file is closed, after what was put before."""
        self.put(folder, 0, b"")

    def delete(self, paths: Iterable[Path]) -> None:
        """Segments, and folders that are empty without them."""
        with self._files:
            for path in paths:
                file = self._open.get(path.parent)
                if file is not None and Path(str(file.name)) == path:
                    self._close_file(path.parent)
                path.unlink(missing_ok=True)
                with suppress(OSError):  # it has others
                    path.parent.rmdir()

    def close(self) -> None:
        """Everything that was put is written, as far as the disk takes it."""
        self.flush()
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=5)
        with self._files:
            for folder in list(self._open):
                self._close_file(folder)

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            self._write(*batch)
            with self._changed:
                self._waiting_bytes -= len(batch[2])
                self._written += 1
                self._changed.notify_all()

    def _next(self) -> tuple[Path, int, bytes] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            return self._waiting.popleft() if self._waiting else None

    def _write(self, folder: Path, number: int, data: bytes) -> None:
        try:
            with self._files:
                if not data:
                    self._close_file(folder)
                    return
                file = self._file(folder, number, len(data))
                if file.write(data) != len(data):
                    msg = "no space left"
                    raise OSError(msg)  # noqa: TRY301 — as when nothing of it fits
        except OSError as error:
            self._fail(folder, error)
        else:
            if self._is_failing:
                self._is_failing = False
                log.info("logs_kept_again")

    def _fail(self, folder: Path, error: OSError) -> None:
        """Said once, and tried again with the next line: whoever follows the log has this one from memory."""
        if not self._is_failing:
            self._is_failing = True
            log.error("logs_not_kept", folder=str(folder), reason=str(error))
        self._close_file(folder)  # its end may be half a line, which is mended when it is opened again

    def _close_file(self, folder: Path) -> None:
        with self._files, suppress(OSError):
            if (file := self._open.pop(folder, None)) is not None:
                file.close()

    def _file(self, folder: Path, number: int, size: int) -> FileIO:
        """A segment with room for this much more. A single entry may be larger than a segment."""
        file = self._open.get(folder)
        if file is not None and file.tell() + size > self._segment_bytes:
            self._close_file(folder)
            file = None
        if file is None:
            file = self._open[folder] = FileIO(self._segment_for(folder, number, size), "a")
            while len(self._open) > _OPEN_FILES:
                self._close_file(next(iter(self._open)))
        self._open.move_to_end(folder)
        return file

    def _segment_for(self, folder: Path, number: int, size: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        paths = log_segments.segments(folder)
        if paths:
            log_segments.mend(paths[-1])
            if paths[-1].stat().st_size + size <= self._segment_bytes:
                return paths[-1]
        for path in paths[: -(self._most_segments - 1)]:
            path.unlink()
        return folder / f"{number:012d}.jsonl"
