"""The commands `modal` and `freehold`, forked from a process that has imported them.

Each is a process of its own, with the arguments, environment, folder and output that it is given, and it ends as any program does. What is
spared is the second in which Python imports modal, of which the suite would wait for hundreds.

Run as a script, this file is the process that forks. It ends when its parent does.
"""

import atexit
import gc
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

# What Python reads when it starts, and modal when it is imported: a command with others is for its own process to import.
_READ_EARLY = ("PYTHONPATH", "PYTHONUNBUFFERED", "MODAL_CONFIG_PATH", "MODAL_PROFILE")
_LONGEST = 1 << 17  # bytes of a request; most of it is environment


class Forks:
    """The process that forks, as its parent has it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._early = _early(environment)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = ["env", "--default-signal=INT", sys.executable, __file__, str(theirs.fileno())]
            subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            ).returncode = 0  # nobody waits for it

    def suits(self, environment: Mapping[str, str]) -> bool:
        return _early(environment) == self._early

    def run(self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, within: float) -> tuple[int | None, str]:
        """Exit status and output; no status if it had to be killed after so many seconds."""
        output, theirs = os.pipe()
        told, answer = os.pipe()
        request = json.dumps({"command": command, "environment": dict(environment), "folder": str(folder)})
        socket.send_fds(self._control, [request.encode()], [theirs, answer])
        os.close(theirs)
        os.close(answer)
        with os.fdopen(told) as answers, os.fdopen(output, errors="replace") as text:
            pid, is_late = int(answers.readline()), threading.Event()
            timer = threading.Timer(within, lambda: (is_late.set(), os.kill(pid, 9)))
            timer.start()
            said, code = text.read(), int(answers.readline())
            timer.cancel()
        return None if is_late.is_set() else code, said


def _early(environment: Mapping[str, str]) -> list[str | None]:
    return [environment.get(name) for name in _READ_EARLY]


def _forking(control: socket.socket) -> tuple[dict[str, Any], int]:
    """Returns in each child: what it is to be, and where its output goes."""
    waiting = selectors.DefaultSelector()
    waiting.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.data:
                waiting.unregister(key.fileobj)
                _tell_the_end(key.fd, *key.data)
                continue
            request, descriptors, *_ = socket.recv_fds(control, _LONGEST, 2)
            if not request:
                sys.exit()
            output, answer = descriptors
            if not (pid := os.fork()):
                return json.loads(request), output
            os.close(output)
            os.write(answer, f"{pid}\n".encode())
            waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, answer))


def _tell_the_end(process: int, pid: int, answer: int) -> None:
    _, status = os.waitpid(pid, 0)
    with suppress(BrokenPipeError):
        os.write(answer, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os.close(process)
    os.close(answer)


def _become(command: list[str], environment: dict[str, str], folder: str, *, output: int) -> None:
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = command
    sys.path[0] = str(Path(command[0]).parent)


def _end_with(main: Callable[[], object]) -> NoReturn:
    """As a program ends, except that Python does not free all it has, one by one, which for a fork takes longer than all the rest."""
    code: object = 1
    try:
        code = main()
    except SystemExit as end:
        code = end.code
    except Exception:  # noqa: BLE001 — Python does the same
        sys.excepthook(*sys.exc_info())
    if not isinstance(code, int | None):
        sys.stderr.write(f"{code}\n")
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code or 0)


def _main() -> None:
    from modal.__main__ import main as modal  # noqa: PLC0415 — only this process is to have them

    from freehold.cli.main import main as freehold  # noqa: PLC0415

    gc.freeze()  # what is here is left alone, and so stays shared
    request, output = _forking(socket.socket(fileno=int(sys.argv[1])))
    _become(**request, output=output)
    _end_with({"freehold": freehold, "modal": modal}[Path(sys.argv[0]).name])


if __name__ == "__main__":
    _main()
