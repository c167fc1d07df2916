"""Cold starts: the time from asking to the answer, and where it goes."""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection
from typing import Any

import modal
from engine import Engine

_RUNS = 7
_QUESTION = json.dumps({"features": [5.1, 3.5, 1.4, 0.2]})

Phases = Mapping[str, float]


def trivial(engine: Engine) -> Phases:
    cold = modal.Function.from_name("bench-trivial", "cold")
    cold.hydrate()
    return _medians(engine, cold.remote)


def iris(engine: Engine) -> Phases:
    url = modal.Cls.from_name("bench-iris", "Iris")().predict.get_web_url()
    host = url.removeprefix("http://").rstrip("/")

    def ask() -> Any:
        connection = HTTPConnection(*engine.gateway, timeout=60)
        connection.request("POST", "/", _QUESTION, {"Host": host, "Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())

    return _medians(engine, ask)


def _medians(engine: Engine, ask: Callable[[], Any]) -> Phases:
    """The median of each phase over several starts; the first, which may fill caches, does not count."""
    starts = [_start(engine, ask) for _ in range(_RUNS + 1)][1:]
    return {phase: statistics.median(start[phase] for start in starts) for phase in starts[0]}


def _start(engine: Engine, ask: Callable[[], Any]) -> Phases:
    engine.settle()
    asked = time.time()
    told = ask()
    answered = time.time()
    moments = [asked, engine.enqueued_at(told["task_id"]), told["process"], told["imported"], told["entered"], answered]
    names = ("schedule", "container", "import", "enter", "first output")
    phases = {name: (end - begin) * 1000 for name, begin, end in zip(names, moments, moments[1:], strict=False)}
    return {**phases, "all": (answered - asked) * 1000}
