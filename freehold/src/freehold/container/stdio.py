"""Says, in the output of a container, which input wrote what: a container may run several at once, and answers faster than it is read.

Each write of sys.stdout and sys.stderr that belongs to an input is put between marks, which the worker takes out again
(`worker/marks.py`). A mark begins with a secret of this container, so that nothing a program prints is taken for one by accident.

Nothing here may fail, wait or hold anything back. Where something is not as expected, the streams stay as Python made them.
"""

from __future__ import annotations

import io
import os
import re
import sys
import time
from typing import Any, ClassVar

SECRET_VARIABLE = "FREEHOLD_OUTPUT_SECRET"  # noqa: S105 — the name of a variable
_SAME_MOMENT = 1000  # microseconds in which one stream keeps its mark: that is quicker to write, and to read
_IS_ID = re.compile(r"[\w-]{1,80}", re.ASCII).fullmatch
_kept: list[Any] = []  # streams that were replaced: one that Python collects would close its file


def install() -> None:
    """Replace sys.stdout and sys.stderr, once, in the process that the engine has started. Its children get no secret."""
    secret = os.environ.pop(SECRET_VARIABLE, "")
    if not secret:
        return
    for name in ("stdout", "stderr"):
        try:
            replaced = _marking(getattr(sys, name), secret)
        except Exception:  # noqa: BLE001, S112 — output without marks is better than a container that does not start
            continue
        if replaced is not None:
            _kept.append(getattr(sys, name))
            setattr(sys, name, replaced)
            setattr(sys, f"__{name}__", replaced)


def renew() -> None:
    """In a fork of a process that has installed it: with the secret of its own container."""
    secret = os.environ.pop(SECRET_VARIABLE, "")
    for name in ("stdout", "stderr"):
        raw = getattr(getattr(sys, f"__{name}__"), "buffer", None)
        if isinstance(raw, _MarkingFile):
            raw.mark_with(secret)


def _marking(stream: Any, secret: str) -> Any:
    """The same stream with marks. None for one that keeps text back: when that is written, it may be another's turn."""
    if type(stream) is not io.TextIOWrapper or type(stream.buffer) is not io.FileIO or not stream.write_through:
        return None
    raw: Any = _MarkingFile(stream.fileno(), secret)
    raw.name = stream.name
    made: Any = io.TextIOWrapper(
        raw, encoding=stream.encoding, errors=stream.errors, newline="\n", line_buffering=stream.line_buffering, write_through=True
    )
    made.mode = "w"  # as Python's own
    return made


def _current_input() -> str:
    """The input that this thread or coroutine works on, as modal knows it; empty outside of one."""
    module: Any = sys.modules.get("modal._runtime.execution_context")
    found = module._current_input_id.get("") if module else ""
    return found if _IS_ID(found) else ""


class _MarkingFile(io.FileIO):
    _last: ClassVar[list[Any]] = [None, 0]  # the stream that wrote last, and when (microseconds); of both

    def __init__(self, descriptor: int, secret: str) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.mark_with(secret)
        self._open_line = ""  # the input whose line is unfinished

    def mark_with(self, secret: str) -> None:
        self._mark = b"\x1e" + secret.encode()
        self._head, self._head_of = b"", ("", 0)

    def write(self, data: Any) -> Any:
        try:
            marked, size = self._between_marks(data)
        except Exception:  # noqa: BLE001 — whatever it is: the text matters, the mark does not
            return super().write(data)
        if not size:
            return super().write(data)
        self._write_all(marked)
        return size

    def _between_marks(self, data: Any) -> tuple[bytes, int]:
        """The bytes with marks, and how many of them are the writer's. `print` writes the end of its line by itself, which needs none."""
        input_id = _current_input()
        if not input_id or (data == b"\n" and input_id == self._open_line):
            self._open_line = ""
            return b"", 0
        head = self._head_for(input_id)
        marked = b"".join((head, data, self._mark, b"\x1e"))
        self._open_line = "" if bytes(data[-1:]) == b"\n" else input_id
        return marked, len(marked) - len(head) - len(self._mark) - 1

    def _head_for(self, input_id: str) -> bytes:
        """With a later time than any mark before it in the other stream: that is how the two are put in order."""
        stream, at = self._last
        now = time.time_ns() // 1000
        if stream is not self or not 0 <= now - at < _SAME_MOMENT:
            at = self._last[1] = max(now, at + 1) if now > at - _SAME_MOMENT else now
            self._last[0] = self
        if self._head_of != (input_id, at):
            self._head, self._head_of = b"%s%s %x\x1e" % (self._mark, input_id.encode(), at), (input_id, at)
        return self._head

    def _write_all(self, marked: bytes) -> None:
        """A mark must not be cut: go on after a signal, and where the program has made the pipe one that does not wait."""
        left = memoryview(marked)
        while left:
            written = super().write(left)
            if written is None:
                time.sleep(0.001)
            else:
                left = left[written:]
