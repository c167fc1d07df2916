"""`python -m freehold_container.zygote`: a Python that has imported what tasks of one app import, and forks itself to become them.

It imports modal's runtime and the modules that it is told, of the image's own packages, never the app's code; then, for each request, it
forks an embryo (`embryo.py`), the first process of a new pid namespace, which waits to be told which task it is. Its only line to the
engine is the socket that it has as standard input. What it starts outlives it: tasks belong to their embryo, and the process that watches
the zygote stays when that has ended, because it holds the pid namespace in which all of them are.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Callable

from .embryo import ZYGOTE, Kind, check, hatch, libc
from .orders import receive, send

CLONE_NEWPID = 0x20000000
_ENTRYPOINT = "modal._container_entrypoint"
# What modal's runtime imports late, or our seams do: without them each task would.
_RUNTIME = (
    _ENTRYPOINT, "modal._runtime.asgi", "modal._utils.proxy_support", "modal._runtime.container_io_manager", "modal.cls", "modal.app",
    "urllib.request", "google.protobuf.empty_pb2", "asyncio.unix_events", "concurrent.futures.thread", "encodings.idna", "runpy", "random",
    *(f"freehold_container.{name}" for name in ("__main__", "calls", "inputs", "link", "old_names", "patience", "phases", "stdio", "stub", "traces", "web")),
    "modal_compat.shim",
)  # fmt: skip
_OWN_WEB = ("freehold_web.serving", "freehold_web.uvloop")
_WEB = ("fastapi", "fastapi.responses", "fastapi.middleware.cors")
_SECONDS_PER_MODULE = 20
DEVICES = ("/libcuda", "/libnvidia", "/dev/nvidia", "/dev/kfd", "/dev/dri")


def serve() -> Callable[[], None] | None:
    """The life of a zygote. Returns in tasks only: what they are to run, from the top of the stack, so that they end as any program."""
    control = take_control()
    try:
        order, _ = receive(control)
        send(control, {**preload(order["modules"])})
        return breed(control, ZYGOTE)
    except (EOFError, OSError):
        os._exit(0)  # the engine has left or wants no more; what runs needs no zygote


def take_control() -> socket.socket:
    """The line to the engine, in a process that another one watches over."""
    control = socket.socket(fileno=os.dup(0))
    _close_input()
    _watch_over_child(control)
    return control


def _close_input() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _watch_over_child(control: socket.socket) -> None:
    """Returns in the child, which is the zygote. The parent stays until the container is ended."""
    pid = os.fork()
    if not pid:
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    os.waitpid(pid, 0)
    with suppress(OSError):
        control.shutdown(socket.SHUT_RDWR)  # process 1 has a copy, so its end alone would tell nobody
    while True:
        signal.pause()


def breed(control: socket.socket, kind: Kind) -> Callable[[], None] | None:
    """Fork whenever it is asked for. Returns in the forks, what they are to run; raises EOFError when no more are wanted."""
    own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
    calls = libc()
    gc.collect()
    gc.freeze()
    heard = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they end, and nothing of them shall stay
    _reap()  # what ended before
    while True:
        _, (line, *_) = receive(control)
        check(calls.unshare(CLONE_NEWPID), "unshare")
        if not os.fork():
            signal.signal(signal.SIGCHLD, heard or signal.SIG_DFL)
            control.close()
            os.close(own_pids)
            return hatch(socket.socket(fileno=line), kind)
        check(calls.setns(own_pids, CLONE_NEWPID), "setns")
        os.close(line)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def preload(modules: list[str]) -> dict[str, Any]:
    """Import what can be shared, and tell what came of it. `why` not to fork this process, if so; `spoiled` is the module to leave out."""
    # Nothing but the client and the image's packages: not the app's files, in whatever image they may lie.
    sys.path[:] = [entry for entry in sys.path if _is_shared(entry)]
    began = time.monotonic()
    reads: dict[str, str] = {}
    with _reads_to(reads, ""):
        why_not = load_runtime()
    spoiled, why, failed = ("", why_not, []) if why_not else _preload(modules, reads)
    took = time.monotonic() - began
    return {"spoiled": spoiled, "why": why, "failed": failed, "reads": reads, "took": took, "size": resident()}


def load_runtime() -> str:
    """What each task would import. Says why this process must not be forked, if so: half of the client is worse than nothing of it."""
    for name in (*_RUNTIME, *(_WEB if Path("/__modal/web").is_dir() else ())):
        if why := _why_not_loaded(name, import_module):
            return why
    for name in _OWN_WEB:
        if why := _why_not_loaded(name, import_module("freehold_container.web").import_apart):
            return why
    _forget(_ENTRYPOINT)  # which is run, as the main module, by each task
    return ""


def _why_not_loaded(name: str, load: Callable[[str], Any]) -> str:
    """Without the time limit of `_imported`: a task would need this module, too, however slow the machine is just now."""
    try:
        load(name)
    except ModuleNotFoundError:  # this version of the client, or this image, has none of it
        return ""
    except BaseException as error:  # noqa: BLE001
        return f"{name} cannot be imported: {type(error).__name__}: {error}"
    return ""


def _preload(modules: list[str], reads: dict[str, str]) -> tuple[str, str, list[str]]:
    open_files = entries("/proc/self/fd")
    failed: list[str] = []
    why = _why_spoiled(open_files)
    for name in modules:
        if why or name in sys.modules:
            continue
        with _reads_to(reads, name):
            if not _imported(name):
                failed.append(name)
        if why := _why_spoiled(open_files):
            return name, why, failed
    if why or "fastapi" not in sys.modules:
        return "", why, failed
    with _reads_to(reads, "fastapi"):
        _imported("freehold_container.rehearsal", _rehearsed)
    why = _why_spoiled(open_files)
    return "fastapi" if why else "", why, failed


def _rehearsed(name: str) -> None:
    import_module(name).rehearse()


def _is_shared(entry: str) -> bool:
    return entry.startswith(("/pkg", "/__modal/", sys.base_prefix + "/lib")) or "/site-packages" in entry or "/dist-packages" in entry


def _imported(name: str, load: Callable[[str], Any] = import_module) -> bool:
    """Whatever a module does when it is imported, it must not end the zygote."""
    signal.signal(signal.SIGALRM, _too_slow)
    signal.alarm(_SECONDS_PER_MODULE)
    try:
        load(name)
    except BaseException:  # noqa: BLE001
        return False
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return True


def _too_slow(*_: Any) -> None:
    raise TimeoutError


def _forget(name: str) -> None:
    module = sys.modules.pop(name, None)
    package, _, attribute = name.rpartition(".")
    if module is not None and package in sys.modules:
        sys.modules[package].__dict__.pop(attribute, None)


def _why_spoiled(open_files: int) -> str:
    """Threads are not there after a fork, and what is open would be shared."""
    if entries("/proc/self/task") > 1:
        return "starts threads"
    if entries("/proc/self/fd") > open_files:
        return "opens files or connections"
    maps = Path("/proc/self/maps").read_text()
    return "opens devices" if any(device in maps for device in DEVICES) else ""


def entries(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


@contextmanager
def _reads_to(reads: dict[str, str], module: str) -> Iterator[None]:
    """Note what is looked up in the environment, and by which module first: what was read at import cannot be another in a task."""
    kind: Any = type(os.environ)
    stock = kind.__getitem__

    def __getitem__(self: Any, key: Any) -> Any:  # noqa: N807
        if isinstance(key, str):
            reads.setdefault(key, module)
        return stock(self, key)

    kind.__getitem__ = __getitem__
    try:
        yield
    finally:
        kind.__getitem__ = stock


def resident() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    task = import_module("freehold_container.zygote").serve()  # by its own name: __main__ is another's in a task
    if task is not None:
        task()
