"""From nothing to forty containers at once, and what memory each has for itself."""

import re
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import modal
from engine import Engine
from figures import Figure

from freehold.worker.naming import home_key

_CONTAINERS = 40
_CORES = 2
_SLACK_SECONDS = 4.0
_TRIES = 3


def figures(engine: Engine) -> dict[str, Figure]:
    """Inputs last long enough for all containers to come; how long that is, one cold start tells roughly."""
    work = modal.Function.from_name("bench-burst", "work")
    work.remote(0.0)
    engine.settle()
    time.sleep(_SLACK_SECONDS)  # for what the engine prepares
    started = time.perf_counter()
    work.remote(0.0)
    cold_start_seconds = time.perf_counter() - started
    busy = _CONTAINERS * cold_start_seconds / _CORES * 1.5 + _SLACK_SECONDS
    for _ in range(_TRIES):
        engine.settle()
        time.sleep(_SLACK_SECONDS)  # for what the engine prepares
        seconds, memory = _burst(engine, work, busy)
        if seconds is not None:
            per_container = statistics.median(memory.values()) if memory else float("nan")
            return {
                "burst_40_s": Figure(seconds, "s", 4, "goal"),
                "burst_private_mb": Figure(per_container, "MB", 25, "goal"),
            }
        busy *= 2
    msg = f"{_CONTAINERS} calls at once did not get {_CONTAINERS} containers."
    raise RuntimeError(msg)


def _burst(engine: Engine, work: modal.Function, busy: float) -> tuple[float | None, Mapping[str, float]]:
    """Seconds until the last of all containers runs the function; None if some served two inputs."""
    memory: dict[str, float] = {}
    look = threading.Timer(busy - 0.5, lambda: memory.update(private_mb(engine)))
    look.start()
    asked = time.time()
    answers = list(work.map([busy] * _CONTAINERS))
    look.join()
    if len({task_id for _, task_id in answers}) < _CONTAINERS or len(memory) < _CONTAINERS:
        return None, memory
    return max(began for began, _ in answers) - asked, memory


def private_mb(engine: Engine) -> Mapping[str, float]:
    """Of each container, by the name of its control group: memory that nothing else shares, of all its processes."""
    group = re.compile(rf"/freehold-{home_key(engine.settings.root)}/((?:ta|sp)-\w+)")
    found: dict[str, float] = defaultdict(float)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if container := group.search((process / "cgroup").read_text()):
                found[container[1]] += _private_mb(process)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    return found


def _private_mb(process: Path) -> float:
    lines = (process / "smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024 / 1_000_000
