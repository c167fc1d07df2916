"""From a fork of the zygote to a task: into the container that was made for it, out of every power that this took, and then modal's runtime.

The embryo is process 1 of the task's pid namespace. It enters the container's other namespaces, becomes what runc makes of the first
process of any container, and forks the task. Then it does what tini does elsewhere: passes signals on, reaps orphans, and when the task
ends says how to the process that stands for the container (`waiter` in `worker/zygotes`), whose end the engine sees.
"""

from __future__ import annotations

import ctypes
import os
import random
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any, Callable, NamedTuple

from .orders import receive, send

_PR_SET_NAME, _PR_GET_NAME, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 15, 16, 24, 38
_CAPABILITIES_V3 = 0x20080522
_ENTERS = 21  # the number of CAP_SYS_ADMIN
_LAST_CAPABILITY = 63
_FATAL = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT)
_THREAD_SETTERS = (
    ("openblas", ("openblas_set_num_threads", "openblas_set_num_threads64_", "scipy_openblas_set_num_threads", "scipy_openblas_set_num_threads64_"),
     ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")),
    ("libgomp", ("omp_set_num_threads",), ("OMP_NUM_THREADS",)),
    ("libomp", ("omp_set_num_threads",), ("OMP_NUM_THREADS",)),
    ("libiomp", ("omp_set_num_threads",), ("OMP_NUM_THREADS",)),
    ("libmkl_rt", ("MKL_Set_Num_Threads",), ("MKL_NUM_THREADS", "OMP_NUM_THREADS")),
)  # fmt: skip


class Refused(Exception):
    """A task that would not be what it is when it is started in the plain way."""


class Kind(NamedTuple):
    """What a fork becomes. `take` makes the task's surroundings its own, or raises Refused; `begin` says what it runs then."""

    take: Callable[[dict[str, Any]], None]
    begin: Callable[[dict[str, Any]], Callable[[], None]]


def libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def check(code: int, what: str) -> None:
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def hatch(line: socket.socket, kind: Kind) -> Callable[[], None] | None:
    """Enter a container, then fork what waits in it for its task. Returns what the task runs, in the task itself; the embryo ends here."""
    try:
        send(line, {})
        order, descriptors = receive(line)
        waiter = _enter(order, descriptors)
        pid = os.fork()
    except EOFError:  # nobody wants it any more
        os._exit(0)
    except (OSError, KeyError, ValueError) as error:
        send(line, {"refused": str(error)})
        os._exit(0)
    if pid:
        line.close()
        _watch(pid, waiter)
    os.close(waiter)
    return _await_task(line, kind)


def _enter(order: dict[str, Any], descriptors: list[int]) -> int:
    """Become what runc makes of the first process of any container. The answer is where the exit status goes."""
    *namespaces, waiter = descriptors
    calls = libc()
    for namespace in namespaces:
        check(calls.setns(namespace, 0), "setns")
        os.close(namespace)
    drop_capabilities(calls, order["capabilities"])
    os.setsid()
    _close_outputs()
    return waiter


def _await_task(line: socket.socket, kind: Kind) -> Callable[[], None]:
    """Wait to be told, take the task's environment and output, and promise it."""
    try:
        send(line, {"entered": True})
        order, outputs = receive(line)
        kind.take(order)
        for source, target in zip(outputs, (1, 2)):
            os.dup2(source, target)
            os.close(source)
        send(line, {"ok": True})
    except EOFError:
        os._exit(0)
    except (Refused, OSError, KeyError, ValueError) as error:
        send(line, {"refused": str(error)})
        os._exit(0)
    line.close()
    return kind.begin(order)


def drop_capabilities(calls: Any, kept: int) -> None:
    """Keep these (a bit mask) and no others in any set, for good."""
    for number in range(_LAST_CAPABILITY + 1):
        if not kept >> number & 1:
            calls.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)  # fails for numbers that this kernel has not
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)  # effective, permitted, inheritable
    check(calls.capset(header, sets), "capset")
    check(calls.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def use_entering(*, may: bool) -> None:
    """Whether this process uses the power to enter namespaces. What it executes does not get it, from the first time on."""
    calls = libc()
    calls.prctl(_PR_CAPBSET_DROP, _ENTERS, 0, 0, 0)
    header, sets = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0), (ctypes.c_uint32 * 6)()
    check(calls.capget(header, sets), "capget")
    sets[0] = sets[0] | 1 << _ENTERS if may else sets[0] & ~(1 << _ENTERS)
    check(calls.capset(header, sets), "capset")


def take_environment(order: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])


def _take(order: dict[str, Any]) -> None:
    take_environment(order)
    _refuse_hidden(order["python"]["sources"])


def _refuse_hidden(folders: list[str]) -> None:
    """What lies in the app's folders comes before the image's packages: one of the same name must not have been imported already."""
    for folder in map(Path, folders):
        for path in folder.iterdir() if folder.is_dir() else ():
            name, dot, kind = path.name.partition(".")
            hides = kind.endswith(("py", "so", "pyc")) if dot else (path / "__init__.py").is_file()
            if name in sys.modules and hides:
                msg = f"The app's own {name} hides one that is imported already."
                raise Refused(msg)


def _task(order: dict[str, Any]) -> Callable[[], None]:
    """Make this process what `python -m freehold_container …` begins as."""
    _reset_signals()
    here = str(Path(__file__).with_name("__main__.py"))
    sys.argv[:] = [here, *order["python"]["seams"]]
    own = [folder for folder in os.environ["PYTHONPATH"].split(":") if folder]
    sys.path[:] = [order["cwd"], *own, *(entry for entry in sys.path if entry not in own)]
    sys.path_importer_cache.clear()
    invalidate_caches()
    part_from_siblings(order)
    return _run


def part_from_siblings(order: dict[str, Any]) -> None:
    """What no two tasks share, and what a process of several threads has otherwise than one that is forked."""
    os.setpgid(0, 0)
    python = order["python"]
    sys.orig_argv[:] = [python["program"], "-m", __package__ or "", *python["seams"]] if hasattr(sys, "orig_argv") else []
    random.seed()
    for name in ("numpy.random", "torch"):
        with suppress(KeyError, AttributeError):
            sys.modules[name].seed()
    _restore_threads()
    time.tzset()


ZYGOTE = Kind(_take, _task)


def _run() -> None:
    import_module(f"{__package__}.phases").STARTED[:] = "zygote", "forked"
    import_module(f"{__package__}.__main__").main()


def _reset_signals() -> None:
    _handle_all(signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as Python begins, and these two
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _handle_all(handler: Any, but: Iterable[int] = ()) -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, *but}:
        with suppress(OSError, ValueError):  # the C library keeps some for itself
            signal.signal(number, handler)


def _restore_threads() -> None:
    """Numeric libraries were loaded with one thread each; a task's have as many as it says, or as there are CPUs."""
    with suppress(OSError):
        for path in {line.rpartition(" ")[2] for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line}:
            _set_threads(path)


def _set_threads(path: str) -> None:
    file = Path(path).name
    for part, functions, variables in _THREAD_SETTERS:
        if part not in file:
            continue
        wished = next((os.environ[name] for name in variables if os.environ.get(name, "").isdigit()), "")
        number = int(wished) if wished else len(os.sched_getaffinity(0))
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        for function in functions:
            if hasattr(library, function):
                getattr(library, function)(number)
                return


def _watch(task: int, waiter: int) -> None:
    """Never returns: with this process everything in its namespace ends."""
    woken = _wake_on_signals()
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    poll.register(waiter, 0)  # reported when its other end is closed: the waiter has ended
    while True:
        code = _reap(task)
        if code is not None:
            _tell(waiter, code)
        if any(descriptor == waiter for descriptor, _ in poll.poll()):
            os._exit(0)
        for number in os.read(woken, 64):
            if number != signal.SIGCHLD:
                _pass_on(task, number)


def _wake_on_signals() -> int:
    """Where the numbers of signals can be read as they come."""
    woken, waking = os.pipe()
    for end in (woken, waking):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    _handle_all(lambda *_: None, but=_FATAL)
    return woken


def _close_outputs() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def _tell(waiter: int, code: int) -> None:
    with suppress(OSError):
        os.write(waiter, b"%d\n" % code)
    poll = select.poll()
    poll.register(waiter, 0)
    poll.poll(5000)  # until it has ended with that status: the end of process 1 would kill it with another
    os._exit(0)


def _reap(task: int) -> int | None:
    """The exit status of the task, as shells tell it, once it has ended."""
    found = None
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == task:
                found = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
            if not pid:
                return found
    except ChildProcessError:
        return found


def _pass_on(task: int, number: int) -> None:
    with suppress(OSError):
        os.kill(task, number)
