"""The client's commands at a terminal: what a person types goes in, what the screen shows comes out."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from typing import Self

from conformance.engine import BIN, Engine
from conformance.waiting import eventually

_LOCAL_FLAGS = 3  # where termios has them


class Screen:
    """`modal …` with a terminal of its own, until the end of the block."""

    def __init__(self, engine: Engine, *args: str, rows: int = 24, columns: int = 80) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {**engine.client_environment, "TERM": "xterm-test"}
        self._process = subprocess.Popen(
            [BIN / "modal", *args], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait(30)
        os.close(self._ours)

    def type(self, text: str) -> None:
        """Once whoever is to read it does: until then the terminal itself would take it."""
        eventually(self._is_raw, within=60, what="A terminal that is handed on")
        os.write(self._ours, text.encode())

    def shows(self, text: str, *, within: float = 60) -> None:
        """All after what was shown before."""
        deadline = time.monotonic() + within
        while text not in self._shown:
            assert self._read(), f"It has ended without {text!r} on its screen: {self._shown!r}"
            assert time.monotonic() < deadline, f"No {text!r} on the screen: {self._shown!r}"
        self._shown = self._shown.partition(text)[2]

    def ended(self, *, within: float = 60) -> int:
        """Its exit status. What it still shows is read, or it would wait for that."""
        deadline = time.monotonic() + within
        while self._process.poll() is None and time.monotonic() < deadline:
            self._read()
        return self._process.wait(1)

    def _is_raw(self) -> bool:
        return not termios.tcgetattr(self._ours)[_LOCAL_FLAGS] & termios.ICANON

    def _read(self) -> bool:
        """False when there is nobody any more who could show something."""
        try:
            if select.select([self._ours], [], [], 0.2)[0]:
                self._shown += os.read(self._ours, 65536).decode(errors="replace")
        except OSError:
            return False
        return True
