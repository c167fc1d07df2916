"""Starting programs and waiting for any child process, without threads: posix_spawn and pidfds."""

import os
import signal
from collections.abc import Mapping
from contextlib import ExitStack

import anyio

# An engine started in the background has SIGINT ignored, and Python ignores SIGPIPE; programs expect neither.
_DEFAULT_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


class Child:
    """A child of this process, also one that was orphaned and handed to it. `wait` may be called by several."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._code: int | None = None
        self._waiting = anyio.Lock()

    async def wait(self) -> int:
        """The exit status, or 128 + signal."""
        async with self._waiting:
            if self._code is None:
                await anyio.wait_readable(self._pidfd)
                self._code = self._reap()
        return self._code

    def signal(self, number: int) -> None:
        if self._code is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def _reap(self) -> int:
        try:
            status = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        finally:
            os.close(self._pidfd)
        assert status is not None
        return status.si_status if status.si_code == os.CLD_EXITED else 128 + status.si_status


def spawn(argv: tuple[str, ...], *, stdout: int, stderr: int, env: Mapping[str, str] = _ENVIRONMENT) -> Child:
    """Start a program by its path, with no input and these two outputs. All other descriptors of ours are closed on exec."""
    with ExitStack() as stack:
        null = os.open(os.devnull, os.O_RDONLY)
        stack.callback(os.close, null)
        pid = os.posix_spawn(
            argv[0],
            argv,
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate((null, stdout, stderr))],
            setsigdef=_DEFAULT_SIGNALS,
            setsigmask=(),
        )
    return Child(pid)
