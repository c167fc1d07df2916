"""The models of one container: loaded on demand, evicted least recently used, replaced by newer weights between two batches.

A model in use is never changed: newer weights are loaded beside it, in a thread, and take its place; who holds the old one ends with it.
So at its peak a reload needs the memory of two.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modalkit._batches import Steps
from modalkit.errors import InferenceError

log = logging.getLogger("modalkit")

RETRY_LOAD_AFTER = 10.0  # seconds; a model that failed to load is tried again, since its files may have come meanwhile


@dataclass(slots=True)
class Loaded:
    """One model in memory."""

    pipeline: Any
    steps: Steps
    seconds: float  # that loading took
    size: int  # bytes of memory that came with it, as far as can be seen
    turn: threading.Lock = field(default_factory=threading.Lock)  # held while a batch runs
    users: int = 0
    is_out: bool = False  # no longer offered; unloaded when its last user ends


@dataclass(slots=True)
class _Failed:
    reason: str
    at: float


@dataclass
class Models:
    """`load` makes a pipeline from a model's name; `budget` is bytes for all models, 0 for no bound."""

    load: Callable[[str], Any]
    budget: int = 0
    clock: Callable[[], float] = time.monotonic
    loads: list[tuple[str, float]] = field(default_factory=list)  # since the last receipt: name, seconds
    _loaded: OrderedDict[str, Loaded] = field(default_factory=OrderedDict)
    _failed: dict[str, _Failed] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # held while a model is looked up or exchanged
    _loading: threading.Lock = field(default_factory=threading.Lock)  # held while one is loaded; those in memory answer meanwhile

    @contextmanager
    def use(self, name: str) -> Iterator[Loaded]:
        """The model, loaded, and kept until the end of the block. Raises InferenceError (503) with the reason if it cannot be loaded."""
        loaded = self._take(name)
        try:
            yield loaded
        finally:
            self._give_back(loaded)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._loaded)

    def reload(self) -> None:
        """Brings every model in memory up to its files; a model whose newer form cannot be loaded stays as it is."""
        for name in self.names:
            self._refresh(name)

    def unload(self) -> None:
        """Lets go of all."""
        with self._lock:
            while self._loaded:
                self._drop(next(iter(self._loaded)))

    def _take(self, name: str) -> Loaded:
        if (loaded := self._take_known(name)) is not None:
            return loaded
        with self._loading:
            if (loaded := self._take_known(name)) is not None:  # another request loaded it meanwhile
                return loaded
            loaded = self._try_load(name)
            with self._lock:
                self._loaded[name] = loaded
                loaded.users += 1
                self._evict(keep=name)
            return loaded

    def _take_known(self, name: str) -> Loaded | None:
        with self._lock:
            if (loaded := self._loaded.get(name)) is not None:
                self._loaded.move_to_end(name)
                loaded.users += 1
            return loaded

    def _give_back(self, loaded: Loaded) -> None:
        with self._lock:
            loaded.users -= 1
            is_last = loaded.is_out and not loaded.users
        if is_last:
            _unload(loaded)

    def _try_load(self, name: str) -> Loaded:
        failed = self._failed.get(name)
        if failed and self.clock() - failed.at < RETRY_LOAD_AFTER:
            raise _not_ready(name, failed.reason)
        try:
            loaded = self._load(name)
        except Exception as error:
            log.exception("Model %r cannot be loaded", name)
            reason = f"{type(error).__name__}: {error}"
            self._failed[name] = _Failed(reason, self.clock())
            raise _not_ready(name, reason) from error
        self._failed.pop(name, None)
        return loaded

    def _load(self, name: str) -> Loaded:
        began, before = time.perf_counter(), _memory()
        pipeline = self.load(name)
        if warmup := getattr(pipeline, "warmup", None):
            warmup()
        seconds = time.perf_counter() - began
        self.loads.append((name, seconds))
        return Loaded(pipeline, Steps(pipeline), seconds, max(0, _memory() - before))

    def _refresh(self, name: str) -> None:
        with self._lock:
            current = self._loaded.get(name)
        if current is None:
            return
        try:
            if hook := getattr(current.pipeline, "on_volume_reload", None):
                with current.turn:
                    hook()
                return
            with self._loading:
                newer = self._load(name)
        except Exception:
            log.exception("The newer files of model %r cannot be loaded; it goes on as it is", name)
            return
        with self._lock:
            if name in self._loaded:
                self._drop(name)
            self._loaded[name] = newer

    def _evict(self, keep: str) -> None:
        while self.budget and len(self._loaded) > 1 and sum(each.size for each in self._loaded.values()) > self.budget:
            oldest = next(name for name in self._loaded if name != keep)
            log.info("Model %r leaves memory: models hold more than %d bytes", oldest, self.budget)
            self._drop(oldest)

    def _drop(self, name: str) -> None:
        loaded = self._loaded.pop(name)
        loaded.is_out = True
        if not loaded.users:
            _unload(loaded)


class Reloader:
    """Looks every `interval` seconds whether the model files changed, and reloads. `refresh` brings the volumes up to date first."""

    def __init__(self, models: Models, folder: str, interval: float, refresh: Callable[[], None]) -> None:
        self._models = models
        self._folder = Path(folder)
        self._interval = interval
        self._refresh = refresh
        self._seen = self._last = fingerprint(self._folder)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="modalkit-reload", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def look(self) -> bool:
        """Whether the models were reloaded: the files differ from the models', and lay still since the last look (none is half written)."""
        self._refresh()
        seen, last = fingerprint(self._folder), self._last
        self._last = seen
        if seen in (self._seen, frozenset()) or seen != last:
            return False
        self._seen = seen
        log.info("Model files changed: loading them")
        self._models.reload()
        return True

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self.look()
            except Exception:
                log.exception("Looking for newer model files failed; it is tried again in %s s", self._interval)


def fingerprint(folder: Path) -> frozenset[tuple[str, int, int]]:
    """Names, sizes and times of all files below a folder."""
    found = set()
    for path in folder.rglob("*"):
        try:
            facts = path.stat()
        except FileNotFoundError:  # being replaced
            continue
        found.add((str(path), facts.st_size, facts.st_mtime_ns))
    return frozenset(found)


def _not_ready(name: str, reason: str) -> InferenceError:
    return InferenceError(f"Model {name!r} is not ready: {reason}", status=503, kind="model_not_ready")


def _unload(loaded: Loaded) -> None:
    loaded.steps.close()
    try:
        if hook := getattr(loaded.pipeline, "unload", None):
            hook()
    except Exception:
        log.exception("unload() failed")


def _memory() -> int:
    """Bytes that this process holds: of the device if torch has one, else resident memory."""
    import sys  # noqa: PLC0415

    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.memory_allocated())
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # not Linux
        return 0
    return pages * 4096
