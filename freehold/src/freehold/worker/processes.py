"""Starting programs and waiting for processes, ours or orphans of an earlier engine, without threads: posix_spawn and pidfds."""

import os
import select
import signal
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import anyio

from freehold.worker import syscalls

# An engine started in the background has SIGINT ignored, and Python ignores SIGPIPE; programs expect neither.
_DEFAULT_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTTIN)
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STATE, _STARTED, _EXIT_CODE = 0, 19, 49  # in /proc/<pid>/stat, counted from after the name


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMark:
    """Tells one process from all others that had or will have its pid."""

    pid: int
    started: int  # clock ticks after the boot
    boot: str


def mark_of(pid: int) -> ProcessMark | None:
    """None if there is no such process, or it has ended."""
    stat = _stat(pid)
    if stat is None or stat[_STATE] in "ZX":
        return None
    return ProcessMark(pid=pid, started=int(stat[_STARTED]), boot=_BOOT.read_text().strip())


class Process:
    """A child of this process, also one that was orphaned and handed to it, or a process of an earlier engine, whose parent is another
    now. `wait` may be called by several.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._has_ended = False
        self._code: int | None = None
        self._waiting = anyio.Lock()

    @classmethod
    def find(cls, mark: ProcessMark) -> Self | None:
        """The process with this mark, if it still runs."""
        try:
            found = cls(mark.pid)
        except ProcessLookupError:
            return None
        if mark_of(mark.pid) == mark and not found._is_readable():  # looked at after the descriptor was opened: it is of this process
            return found
        os.close(found._pidfd)
        return None

    async def wait(self) -> int | None:
        """The exit status, or 128 + signal; None if it was not our child and the kernel does not say."""
        async with self._waiting:
            if not self._has_ended:
                await anyio.wait_readable(self._pidfd)
                self._code = self._reap()
                self._has_ended = True
        return self._code

    def signal(self, number: int) -> None:
        if not self._has_ended:
            with suppress(ProcessLookupError):  # another parent was quicker to reap it
                signal.pidfd_send_signal(self._pidfd, number)

    def _is_readable(self) -> bool:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def _reap(self) -> int | None:
        try:
            status = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        except ChildProcessError:
            return self._exit_of_anothers_child()
        finally:
            os.close(self._pidfd)
        assert status is not None
        return status.si_status if status.si_code == os.CLD_EXITED else 128 + status.si_status

    def _exit_of_anothers_child(self) -> int | None:
        """Until its parent reaps it /proc says so, afterwards (since Linux 6.15) its descriptor."""
        stat = _stat(self.pid)
        if stat is not None and stat[_STATE] == "Z":
            return _exit_status(int(stat[_EXIT_CODE]))
        code = syscalls.pidfd_exit_code(self._pidfd)
        return None if code is None else _exit_status(code)


def spawn(argv: tuple[str, ...], *, stdout: int, stderr: int, stdin: int | None = None, env: Mapping[str, str] = _ENVIRONMENT) -> Process:
    """Start a program by its path, with no input or this, and these two outputs. All other descriptors of ours are closed on exec."""
    with ExitStack() as stack:
        null = os.open(os.devnull, os.O_RDONLY)
        stack.callback(os.close, null)
        given = null if stdin is None else stdin
        pid = os.posix_spawn(
            argv[0],
            argv,
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate((given, stdout, stderr))],
            setsigdef=_DEFAULT_SIGNALS,
            setsigmask=(),
        )
    return Process(pid)


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()  # the name before it may contain anything


def _exit_status(code: int) -> int:
    """Of a wait status: as shells tell it."""
    return os.WEXITSTATUS(code) if os.WIFEXITED(code) else 128 + os.WTERMSIG(code)
