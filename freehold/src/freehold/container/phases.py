"""Seam: when this container reached which point of its start and what its imports took, told to the engine when it is ready.

What is imported after that, by the first input above all, is told a little later. Imports are timed where the interpreter comes by for
each module that is not loaded yet, for the first two minutes: a microsecond each. Times are those of the monotonic clock, which a machine's containers share with its engine.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any, Callable

LATER = "later"  # the kind of a report that is not of a start
LOOKS = (1.5, 15.0, 120.0)  # seconds after the container is ready when more may have been imported; after the last, nothing is timed
_MOST_IMPORTS = 30  # packages that are named: those that took longest
_MOST_MODULES = 4000
_LEAST = 0.0005  # seconds; packages below this are not worth a line
_BOOTSTRAP = "<frozen importlib._bootstrap>"  # frames of this file are left out of the tracebacks that users see


class ImportTimer:
    """Seconds by top-level package: of all that importing it took, and of its own part, without what other packages took within."""

    def __init__(self) -> None:
        self.total: dict[str, float] = {}
        self.own: dict[str, float] = {}
        self._bootstrap: Any = sys.modules["_frozen_importlib"]
        self._stock: Any = self._bootstrap._find_and_load
        self._timed: Any = None

    def start(self) -> None:
        self._timed = self._bootstrap._find_and_load = _timed(self._stock, self.total, self.own)

    def take(self) -> tuple[dict[str, float], dict[str, float]]:
        """What was measured since this was asked last."""
        taken = dict(self.total), dict(self.own)
        self.total.clear()
        self.own.clear()
        return taken

    def stop(self) -> None:
        if self._bootstrap._find_and_load is self._timed:
            self._bootstrap._find_and_load = self._stock


def _timed(stock: Callable[[str, Any], Any], total: dict[str, float], own: dict[str, float]) -> Callable[[str, Any], Any]:
    """`importlib._bootstrap._find_and_load`, which the interpreter looks up at each import of a module that is not there yet."""
    clock, thread = time.perf_counter, get_ident
    # By thread: packages under way, one inside the other, and what others took within each of them.
    under_way: dict[int, tuple[list[str], list[float]]] = {}

    def _find_and_load(name: str, import_: Any) -> Any:
        package = name.partition(".")[0]
        packages, others = under_way.setdefault(thread(), ([], []))
        if packages and packages[-1] == package:
            return stock(name, import_)
        packages.append(package)
        others.append(0.0)
        started = clock()
        try:
            return stock(name, import_)
        finally:
            took = clock() - started
            packages.pop()
            own[package] = own.get(package, 0.0) + took - others.pop()
            if package not in packages:
                total[package] = total.get(package, 0.0) + took
            if others:
                others[-1] += took
            else:
                under_way.pop(thread(), None)

    _find_and_load.__code__ = _find_and_load.__code__.replace(co_filename=_BOOTSTRAP)
    return _find_and_load


class Phases:
    """The start of one container. A process that is forked to become one begins it anew, as another `kind` of start."""

    def __init__(self) -> None:
        self.kind = ""  # "plain", or what it was forked from; empty when nothing is recorded
        self.moments: dict[str, float] = {}
        self._timer: ImportTimer | None = None
        self._known: set[str] = set()  # modules that were there before, or are told
        self._seen = 0  # how many modules there were at the last look

    def begin(self, kind: str, moment: str) -> None:
        """From here on imports are this container's own. `moment` is the name of the point that is reached now."""
        self.end()
        self.kind, self.moments = kind, {moment: time.monotonic()}
        self._known = set(sys.modules) if kind != "plain" else set()
        self._timer = ImportTimer()
        self._timer.start()

    def mark(self, moment: str) -> None:
        """The start has come to this point; only the first time counts."""
        if self.kind:
            self.moments.setdefault(moment, time.monotonic())

    def end(self) -> None:
        if self._timer is not None:
            self._timer.stop()

    def report(self) -> bytes:
        """What the engine is to be told now, as JSON: first the start, then what was imported since. Empty when there is nothing."""
        if not self.kind or self._timer is None or len(sys.modules) == self._seen:
            return b""
        self._seen = len(sys.modules)
        said = {"kind": self.kind, "moments": self.moments, "imports": self._imports(self._timer), "modules": self._modules()}
        self.kind, self.moments = LATER, {}
        return json.dumps(said).encode()

    def _imports(self, timer: ImportTimer) -> list[list[object]]:
        total, own = timer.take()
        slowest = sorted(total, key=lambda name: own.get(name, 0.0), reverse=True)[:_MOST_IMPORTS]
        return [
            [name, round(total[name], 6), round(own[name], 6), _origin(sys.modules.get(name))]
            for name in slowest
            if own.get(name, 0.0) >= _LEAST
        ]

    def _modules(self) -> list[str]:
        """Those from the image's own site-packages, in the order in which they were done: each after what it needs."""
        fresh = [(name, module) for name, module in list(sys.modules.items()) if name not in self._known]
        self._known.update(name for name, _ in fresh)
        return [name for name, module in fresh if _origin(module) == "image"][:_MOST_MODULES]


PHASES = Phases()  # of this process
STARTED = ["plain", "python"]  # how, and the name of the point that our first line of code is; a fork says otherwise


def report(*, is_last: bool = False) -> bytes:
    """See `Phases.report`. Nothing of it may keep a container from its work."""
    try:
        if is_last:
            PHASES.end()
        return PHASES.report()
    except Exception:  # noqa: BLE001 — whatever modules users put into sys.modules
        return b""


def _origin(module: Any) -> str:
    """Whose a module is: the `image`'s packages, modal's `client`, `python` itself, or the `app`."""
    try:
        known = object.__getattribute__(module, "__dict__")  # a lazy module would load itself when asked
        file = known.get("__file__") or next(iter(known.get("__path__", ())), None)
    except Exception:  # noqa: BLE001 — as above
        file = None
    if not isinstance(file, str):
        return "python"
    if file.startswith(("/pkg/", "/__modal/")):
        return "client"
    if "/site-packages/" in file or "/dist-packages/" in file:
        return "image"
    return "python" if file.startswith((f"{sys.base_prefix}/lib/python", "<")) else "app"


def install() -> None:
    """Raises when this client is not as we know it; then nothing is recorded."""
    PHASES.begin(*STARTED)
    try:
        _watch_user_imports()
    except BaseException:
        PHASES.end()
        PHASES.kind = ""
        raise


def _watch_user_imports() -> None:
    """Modal's runtime imports the user's module within this context, and looks it up when it does."""
    from modal._runtime import execution_context

    module: Any = execution_context
    stock = module._import_context

    @contextmanager
    def _import_context() -> Iterator[None]:
        PHASES.mark("runtime")
        try:
            with stock():
                yield
        finally:
            PHASES.mark("imports")

    module._import_context = _import_context
