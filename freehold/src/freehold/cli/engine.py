"""The engine of one home, seen from outside: whether it runs, where it answers, how to start and to end it.

A running engine holds a lock on `run/engine.json` in its home, and that file says where it answers. The lock goes with the process,
so a file without one is what an earlier engine left.
"""

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from freehold.config import Settings
from freehold.domain.errors import Conflict, DeadlineExceeded, PermissionDenied, Unavailable

START_SECONDS = 60.0
STOP_SECONDS = 60.0  # an engine ends itself after 50 at the latest (`stopping`), its supervisor sees to that after 55
_ANSWER_SECONDS = 3.0
_LOCK_SECONDS = 2.0  # looking whether an engine runs takes the lock for a moment
_TAIL_BYTES = 4096
# What lies in a home. A folder with other things in it is somebody's, and not ours to close.
_OURS = frozenset(
    {"blobs", "bundles", "cache", "config.toml", "keys", "layers", "logs", "lost+found", "pythons", "roots", "run", "staging", "trees"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A running engine, as its own record says."""

    pid: int
    control_url: str
    gateway_url: str


def log_file(home: Path) -> Path:
    return home / "logs" / "engine.log"


def find(home: Path) -> Engine | None:
    """The engine that runs on this home."""
    record = _record(home)
    if not record.exists():
        return None
    with record.open("rb") as file:
        if _try_lock(file.fileno()):
            return None
        return Engine(**_read(file.fileno()))


@contextmanager
def alone(settings: Settings, pid: int | None = None) -> Iterator[None]:
    """Be the only engine of this home, and say where it answers and whom to ask for its end. Raises Conflict if one runs already."""
    record = _record(settings.root)
    _make_folder(settings.root, record.parent)
    engine = Engine(pid=pid or os.getpid(), control_url=settings.control_url, gateway_url=settings.gateway_url)
    with record.open("a+b") as file:
        _lock(file.fileno(), settings.root)
        file.truncate(0)
        file.write(json.dumps(asdict(engine)).encode())
        file.flush()
        yield
        file.truncate(0)


def check_alone(settings: Settings) -> None:
    """Raises Conflict if an engine runs on this home."""
    with alone(settings):
        pass


def start(settings: Settings, flags: list[str]) -> Engine:
    """Start an engine of its own session, and return when it answers. It says so by writing to a pipe."""
    log = log_file(settings.root)
    _make_folder(settings.root, log.parent)
    ready, says_ready = os.pipe()
    command = [str(Path(sys.executable).with_name("freehold")), "up", *flags, "--ready-fd", str(says_ready)]
    with log.open("ab") as output:
        beginning = output.tell()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=(says_ready,), start_new_session=True
        )
    os.close(says_ready)
    try:
        _await_ready(ready, process, log, beginning)
    finally:
        os.close(ready)
    return Engine(pid=process.pid, control_url=settings.control_url, gateway_url=settings.gateway_url)


def health(engine: Engine) -> dict[str, Any]:
    """What the engine says of itself. Raises Unavailable if it does not answer."""
    address = urlsplit(engine.gateway_url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/healthz")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, HTTPException, ValueError) as error:
        msg = f"An engine runs (pid {engine.pid}) but does not answer at {engine.gateway_url}: {error}. `freehold down` ends it."
        raise Unavailable(msg) from error
    finally:
        connection.close()
    return answer


def stop(engine: Engine, grace: float = STOP_SECONDS) -> bool:
    """Ask the engine to end; after the grace, make it. Whether it ended by itself."""
    try:
        process = os.pidfd_open(engine.pid)
    except ProcessLookupError:
        return True
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        if _has_ended(process, grace):
            return True
        signal.pidfd_send_signal(process, signal.SIGKILL)
        _has_ended(process, grace)
        return False
    finally:
        os.close(process)


def tail(log: Path, beginning: int = 0) -> str:
    """The end of a log, from no earlier than `beginning`."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(beginning, size - _TAIL_BYTES))
        return file.read().decode(errors="replace").strip()


def _record(home: Path) -> Path:
    return home / "run" / "engine.json"


def _make_folder(home: Path, folder: Path) -> None:
    """In a home that only its owner reads."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_private(home)
    folder.mkdir(exist_ok=True)


def _make_private(home: Path) -> None:
    """Layers hold programs that make root of whoever starts them; logs and blobs hold what users send."""
    if not home.stat().st_mode & 0o077:
        return
    foreign = sorted(entry.name for entry in home.iterdir() if entry.name not in _OURS and not entry.name.startswith("freehold.db"))
    if foreign:
        msg = (
            f"Others can enter {home}, and it holds more than the state of an engine ({', '.join(foreign[:3])}). "
            f"Set FREEHOLD_HOME to a folder of its own, or: chmod 700 {home}"
        )
        raise PermissionDenied(msg)
    home.chmod(0o700)


def _lock(descriptor: int, home: Path) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while not _try_lock(descriptor):
        if time.monotonic() > deadline:
            msg = f"An engine runs on {home} already. `freehold status` shows it, `freehold down` ends it."
            raise Conflict(msg)
        time.sleep(0.02)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> dict[str, Any]:
    """The record, once its engine has written it."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while not (content := os.pread(descriptor, _TAIL_BYTES, 0)):
        if time.monotonic() > deadline:
            msg = "An engine is being started or ended. Try again in a moment."
            raise Unavailable(msg)
        time.sleep(0.02)
    record: dict[str, Any] = json.loads(content)
    return record


def _await_ready(ready: int, process: subprocess.Popen[bytes], log: Path, beginning: int) -> None:
    readable, _, _ = select.select([ready], [], [], START_SECONDS)
    if not readable:
        process.kill()
        process.wait()
        msg = f"The engine did not answer within {START_SECONDS:.0f} s, so it was ended. The end of {log}:\n{tail(log, beginning)}"
        raise DeadlineExceeded(msg)
    if not os.read(ready, 1):
        process.wait(STOP_SECONDS)  # it has closed its end of the pipe, so it is ending
        msg = f"The engine ended while it started. The end of {log}:\n{tail(log, beginning)}"
        raise Unavailable(msg)


def _has_ended(process: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
