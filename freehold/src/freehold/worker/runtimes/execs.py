"""Further processes in containers, by `runc exec`, which leaves once they run: the engine waits for them as it does for containers.

Each has a folder while it runs. In it is its pid, so that the next engine can kill what this one left behind.
"""

import json
import os
import secrets
import shutil
import signal
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.to_thread
import psutil

from freehold.domain.errors import NotSupported
from freehold.worker.ports import ExecSpec, NotExecuted
from freehold.worker.processes import Process
from freehold.worker.runtimes.spec import exec_process

_STATE = "state.json"  # of runc
_CANNOT, _NOT_FOUND = 126, 127  # exit statuses, as shells give them
_CLOCK_SLACK = 2.0  # seconds by which a process may seem to have started after its pid was written


class Run(Protocol):
    """Runs the runtime's program: `words` is where it logs, `root` where it finds its containers, the others it inherits. The answer is why
    it failed, or empty.
    """

    async def __call__(
        self, arguments: tuple[str, ...], words: Path, *, root: Path, stdin: int | None, stdout: int | None, stderr: int | None
    ) -> str: ...


class Execs:
    def __init__(self, *, folder: Path, state: Path, run: Run, open_files: int) -> None:
        self._folder = folder
        self._state = state
        self._run = run
        self._open_files = open_files

    async def start(self, container_id: str, spec: ExecSpec) -> "ExecutedProcess":
        place = self._folder / secrets.token_hex(8)
        with anyio.CancelScope(shield=True):  # half a start would leave a process that nobody knows
            try:
                with ExitStack() as held:
                    process = await self._start(container_id, spec, place, held)
            except BaseException:
                await anyio.to_thread.run_sync(_remove, place)
                raise
        return process

    async def _start(self, container_id: str, spec: ExecSpec, place: Path, held: ExitStack) -> "ExecutedProcess":
        root = await anyio.to_thread.run_sync(self._write, place, container_id, spec)
        console = _Console(place, held) if spec.terminal else None
        why = await self._run(
            (
                "exec", "--detach", "--process", str(place / "process.json"), "--pid-file", str(place / "pid"),
                *(("--console-socket", console.path) if console else ()), container_id,
            ),
            place / "log",
            root=root,
            stdin=spec.stdin,
            stdout=spec.stdout,
            stderr=spec.stderr,
        )  # fmt: skip
        if why:
            raise NotExecuted(why, _CANNOT if "permission denied" in why else _NOT_FOUND)
        pid = await anyio.to_thread.run_sync(_started, place)
        return ExecutedProcess(pid, place, console.take() if console else None)

    def _write(self, place: Path, container_id: str, spec: ExecSpec) -> Path:
        """What runc reads; where it is to look for the container."""
        place.mkdir(parents=True, mode=0o700)
        (place / "process.json").write_text(json.dumps(exec_process(spec, self._open_files)))
        return self._state_like(place, container_id, spec.like) if spec.like else self._state

    def _state_like(self, place: Path, container_id: str, like: str) -> Path:
        """A copy of runc's state of a container, in which the list of system calls is another container's.

        runc gives a process that list which it gave to the first of its container, and asks nobody.
        """
        try:
            state, other = (_read_state(self._state / each) for each in (container_id, like))
        except FileNotFoundError as error:
            msg = "Commands in forked containers need runc. Install it (apt-get install runc), or set FREEHOLD_ZYGOTES=off."
            raise NotSupported(msg) from error
        state["config"]["seccomp"] = other["config"]["seccomp"]
        folder = place / "state" / container_id
        folder.mkdir(parents=True)
        (folder / _STATE).write_text(json.dumps(state))
        return place / "state"

    def sweep(self) -> None:
        """Kill what an earlier engine left running."""
        for place in self._folder.glob("*"):
            with suppress(OSError, ValueError, psutil.Error):
                file = place / "pid"
                _kill_older(int(file.read_text()), file.stat().st_mtime)
            _remove(place)


class ExecutedProcess:
    """Implements `ContainerProcess`."""

    def __init__(self, pid: int, place: Path, terminal: int | None) -> None:
        self.terminal = terminal
        self._process = Process(pid)
        self._place = place
        self._has_ended = False

    async def wait(self) -> int:
        code = await self._process.wait()
        self._has_ended = True
        await anyio.to_thread.run_sync(_remove, self._place)
        return code or 0

    def kill(self) -> None:
        if not self._has_ended:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # runc makes each the leader of a session


class _Console:
    """Where runc sends its end of a new terminal."""

    def __init__(self, place: Path, held: ExitStack) -> None:
        folder = os.open(place, os.O_PATH | os.O_DIRECTORY)
        held.callback(os.close, folder)
        # By its descriptor: the kernel takes 107 bytes for the path of a socket.
        self.path = f"/proc/{os.getpid()}/fd/{folder}/console"
        self._socket = held.enter_context(socket.socket(socket.AF_UNIX))
        self._socket.bind(self.path)
        self._socket.listen(1)
        self._socket.setblocking(False)

    def take(self) -> int:
        """Once runc has ended: it has been sent by then."""
        connection, _ = self._socket.accept()
        with connection:
            _, (terminal, *_), _, _ = socket.recv_fds(connection, 4096, 1)
        return int(terminal)


def _read_state(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / _STATE).read_text())
    return found


def _started(place: Path) -> int:
    """The pid. What else there is was only for runc: secrets are in it."""
    for name in ("process.json", "log", "console"):
        (place / name).unlink(missing_ok=True)
    shutil.rmtree(place / "state", ignore_errors=True)
    return int((place / "pid").read_text())


def _kill_older(pid: int, moment: float) -> None:
    """A process that was there at that moment; a later one has the pid of one that has ended."""
    if psutil.Process(pid).create_time() <= moment + _CLOCK_SLACK:
        os.killpg(pid, signal.SIGKILL)


def _remove(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
