"""`python -m freehold_container.snapshot SEAM …`: one function's state after `@modal.enter(snap=True)`, to be forked.

Modal's own entrypoint runs in it: imports, constructor, hooks, up to the point where it would have its memory snapshotted. There the
process serves forks, as a zygote does (`zygote.py`); each becomes a task and goes on from that point. It belongs to no task itself: it has
no identity, and nothing of it is heard but whether it can be forked. What a fork could not take over (threads, connections, processes) it
says, and ends.
"""

from __future__ import annotations

import fcntl
import gc
import os
import runpy
import selectors
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Callable

from . import embryo, phases, stdio, web
from .orders import receive, send
from .zygote import DEVICES, breed, entries, load_runtime, resident, take_control

_ENTRYPOINT = "modal._container_entrypoint"
_OF_THE_TASK = frozenset({"phases", "inputs", "calls"})  # seams that need to know which task it is
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 — a path in the container
_HARMLESS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_LONGEST_REASON = 300  # characters
_A_MOMENT = 0.5  # seconds
_ANSWERED = frozenset({"ContainerHello", "VolumeReload"})  # by nothing: what a volume holds is seen without asking


class _NoEngine:
    """Where a client has its calls to the engine."""

    def __getattr__(self, name: str) -> Any:
        async def call(*_: Any, **__: Any) -> None:
            if name not in _ANSWERED:
                msg = f"{name}: nothing can be asked of the engine while the state that tasks are forked from is made"
                raise RuntimeError(msg)

        return call


class Template:
    """The process until it is forked, and in each fork what it takes to go on."""

    def __init__(self, control: socket.socket, seams: list[str]) -> None:
        self._control = control
        self._seams = seams
        self._began = time.monotonic()
        self._loop: Any = None  # modal's, of the user's code
        self._has_looped = False
        self._client: Any = None
        self._later: list[Callable[[], object]] = []  # what the stock runtime had begun before
        self._restored: list[Callable[[], None]] = []  # what is replaced while there is no task
        self._folder = "/"
        self._files: list[int] = []  # open ones that each fork must open anew
        self._open_before: set[int] = set()
        self.is_task = False

    def install(self) -> None:
        """Raises when this client is not as we know it."""
        if why := load_runtime():
            raise RuntimeError(why)
        from modal._runtime import user_code_imports
        from modal._runtime.container_io_manager import ContainerIOManager
        from modal._runtime.task_lifecycle_manager import TaskLifecycleManager
        from modal._runtime.user_code_event_loop import UserCodeEventLoop

        module: Any = user_code_imports
        stock = module.maybe_snapshot
        if stock.__code__.co_varnames[:3] != ("function_def", "snapshot_context_manager", "task_lifecycle_manager"):
            raise TypeError
        web.MAY_BE_QUICK[0] = False
        for name in self._seams:
            if name not in _OF_THE_TASK:
                import_module(f"{__package__}.{name}").install()
        self._hold_client()
        self._hold_heartbeats(ContainerIOManager)
        self._watch_loop(UserCodeEventLoop)
        self._replace(TaskLifecycleManager, "handle_task_lifecycle_exception", self._reported())
        module.maybe_snapshot = self._stay
        self._open_before = _descriptors()

    def _replace(self, owner: Any, name: str, ours: Any) -> None:
        """Until there is a task."""
        stock = owner.__dict__[name]
        setattr(owner, name, ours)
        self._restored.append(partial(setattr, owner, name, stock))

    def _reported(self) -> Any:
        """What the stock runtime does around code of the user, where the answer to an error is that a plain start must tell it."""

        @contextmanager
        def handle_task_lifecycle_exception(_: Any) -> Iterator[None]:
            try:
                yield
            except BaseException as error:  # noqa: BLE001
                self.give_up(f"do not get that far: {type(error).__name__}: {error}")

        return handle_task_lifecycle_exception

    def give_up(self, why: str) -> None:
        """Never returns."""
        with suppress(OSError):
            send(self._control, {"why": why[:_LONGEST_REASON], "size": 0, "took": time.monotonic() - self._began})
        os._exit(0)

    def _hold_client(self) -> None:
        """The one that everything gets is there, and opened by the task."""
        from modal.client import _Client
        from modal.config import config
        from modal_proto.api_pb2 import CLIENT_TYPE_CONTAINER

        self._client = _Client(config["server_url"], CLIENT_TYPE_CONTAINER, None)
        self._client._control_plane_stub = _NoEngine()
        self._client._opened = True
        _Client._client_from_env = self._client

    def _hold_heartbeats(self, manager_class: Any) -> None:
        @contextmanager
        def heartbeats(manager: Any, _: bool) -> Iterator[None]:
            with ExitStack() as stack:
                self._later.append(lambda: stack.enter_context(manager.heartbeats(False)))
                yield

        self._replace(manager_class, "heartbeats", heartbeats)

    def _watch_loop(self, loop_class: Any) -> None:
        enter, run = loop_class.__enter__, loop_class.run

        def entered(loop: Any) -> Any:
            self._loop = enter(loop)
            return self._loop

        def ran(loop: Any, coroutine: Any) -> Any:
            self._has_looped = True
            return run(loop, coroutine)

        loop_class.__enter__, loop_class.run = entered, ran

    def _stay(self, _: Any, __: Any, manager: Any) -> None:
        """Where modal would snapshot. Returns in tasks."""
        self._rest()
        if why := self._why_not():
            self.give_up(why)
        gc.collect()
        send(self._control, {"why": "", "size": resident(), "took": time.monotonic() - self._began})
        self._folder = str(Path.cwd())
        try:
            embryo.use_entering(may=True)
            begin = breed(self._control, embryo.Kind(self._take, self._begin))
        except (EOFError, OSError):
            os._exit(0)  # the engine has left, or wants no more
        if begin is not None:
            begin()
        self._go_on(manager)

    def _rest(self) -> None:
        """End the threads that are ours or idle; they come back when they are needed."""
        synchronizer = _synchronizer()
        loop: Any = self._loop.loop
        if getattr(loop, "_default_executor", None) is not None:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop._executor_shutdown_called, loop._default_executor = False, None
        synchronizer._close_loop()

    def _why_not(self) -> str:
        """What is not there after a fork, or would be shared by all."""
        if not _has_one_thread():
            threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
            return f"leave threads running: {', '.join(threads) or 'of native code'}"
        if _has_children():
            return "leave processes running"
        if any(device in Path("/proc/self/maps").read_text() for device in DEVICES):
            return "open devices"
        if left := [path.name for path in _SHARED_MEMORY.iterdir()]:
            return f"leave shared memory: {left[0]}"
        loop: Any = self._loop.loop
        own = {part.fileno() for part in (loop._selector, loop._ssock, loop._csock)}
        return next(filter(None, map(self._why_not_open, sorted(_descriptors() - self._open_before - own))), "")

    def _why_not_open(self, descriptor: int) -> str:
        target = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if target in _HARMLESS:
            return ""
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return "leave connections open" if target.startswith("socket:") else f"leave {target} open"
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
            return f"leave a file open for writing: {target}"
        self._files.append(descriptor)
        return ""

    def _take(self, order: dict[str, Any]) -> None:
        embryo.take_environment(order)
        with suppress(OSError):
            os.chdir(self._folder)
        for descriptor in self._files:
            _reopen(descriptor)

    def _begin(self, order: dict[str, Any]) -> Callable[[], None]:
        self.is_task = True
        self._control.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        embryo.part_from_siblings(order)
        return partial(self._become, order["python"]["seams"])

    def _become(self, seams: list[str]) -> None:
        from modal.client import _Client

        for restore in self._restored:
            restore()
        stdio.renew()
        phases.STARTED[:] = "snapshot", "forked"
        for name in seams:
            if name in _OF_THE_TASK:
                with suppress(Exception):
                    import_module(f"{__package__}.{name}").install()
        self._client._control_plane_stub, self._client._opened = None, False
        _Client._client_from_env_lock = None

    def _go_on(self, manager: Any) -> None:
        """As the stock runtime would have begun, had it known its task."""
        synchronizer = _synchronizer()
        synchronizer._translate_in(manager).task_id = os.environ["MODAL_TASK_ID"]
        self._renew_loop()
        synchronizer._translate_out(self._client).__enter__()
        for begin in self._later:
            begin()
        phases.PHASES.mark("runtime")

    def _renew_loop(self) -> None:
        """One that has run may have its tasks and locks in the user's state: it is kept, with descriptors of its own."""
        loop: Any = self._loop.loop
        if not self._has_looped:
            loop.close()
            web.MAY_BE_QUICK[0] = "web" in self._seams
            self._loop.loop = web.quick_loop() or type(loop)()
            return
        loop._selector.close()  # the descriptor of it that is this process's
        loop._selector = selectors.DefaultSelector()
        loop._close_self_pipe()
        loop._make_self_pipe()


def _synchronizer() -> Any:
    from modal._utils.async_utils import synchronizer

    return synchronizer


def _has_one_thread() -> bool:
    """Threads that have been joined are gone a moment later."""
    deadline = time.monotonic() + _A_MOMENT
    while entries("/proc/self/task") > 1:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _descriptors() -> set[int]:
    found = set()
    for path in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):
            os.fstat(int(path.name))  # the listing's own is closed by now
            found.add(int(path.name))
    return found


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _reopen(descriptor: int) -> None:
    """The same file at the same place, with a place of its own."""
    fresh = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    os.lseek(fresh, os.lseek(descriptor, 0, os.SEEK_CUR), os.SEEK_SET)
    os.dup2(fresh, descriptor, inheritable=os.get_inheritable(descriptor))
    os.close(fresh)


def serve() -> None:
    """The life of a template, and of each task that is forked from it."""
    seams = sys.argv[1:]
    del sys.argv[1:]  # the user's code sees what it sees with the stock command
    control = take_control()
    receive(control)
    template = Template(control, seams)
    try:
        template.install()
        embryo.use_entering(may=False)
        runpy.run_module(_ENTRYPOINT, run_name="__main__", alter_sys=True)
    except BaseException as error:
        if template.is_task:
            raise
        template.give_up(f"end early: {type(error).__name__}: {error}")
    if not template.is_task:
        template.give_up("are never done")


if __name__ == "__main__":
    import_module("freehold_container.snapshot").serve()  # by its own name: __main__ is another's in a task
