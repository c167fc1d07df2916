"""Waiting for another process: conditions looked at again and again, and lines of output, always with a deadline."""

import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self, TypeVar

T = TypeVar("T")

_PAUSE = 0.1  # seconds between two looks; other processes give us no event to wait on


def eventually(look: Callable[[], T], *, within: float, what: str) -> T:
    """The first truthy answer of `look`. Fails after `within` seconds with the last answer there was."""
    deadline = time.monotonic() + within
    while not (answer := look()):
        assert time.monotonic() < deadline, f"{what}: not within {within} s; the last look gave {answer!r}"
        time.sleep(_PAUSE)
    return answer


@dataclass(frozen=True)
class Line:
    at: float  # time.monotonic() of its arrival
    text: str


@dataclass
class Running:
    """A command that is still running, its output read line by line as it comes. It ends with the block, at the latest."""

    process: subprocess.Popen[str]
    lines: list[Line] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _ended: bool = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait(within=10)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for text in output:
                with self._changed:
                    self.lines.append(Line(time.monotonic(), text.rstrip("\n")))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def output(self) -> str:
        return "\n".join(line.text for line in self.lines)

    def find(self, text: str) -> Line | None:
        return next((line for line in self.lines if text in line.text), None)

    def line(self, text: str, *, within: float = 60) -> Line:
        """The first line that contains the text, waiting for it if need be."""
        with self._changed:
            self._changed.wait_for(lambda: self.find(text) or self._ended, within)
        found = self.find(text)
        assert found, f"No line with {text!r} within {within} s. The output so far:\n{self.output}"
        return found

    def wait(self, *, within: float = 60) -> int:
        """The exit status, once all of the output is read."""
        code = self.process.wait(within)
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended, within), "The output did not end with its process."
        return code

    def interrupt(self, number: int) -> None:
        self.process.send_signal(number)
