"""Cold starts: the time from asking to the answer with no container there, and where it goes as the engine has recorded it."""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any

import modal
from engine import Engine
from figures import Figure
from modal_proto import api_pb2

from freehold.cli.operator import ask as ask_engine

_RUNS = 11
_UNCOUNTED = 2  # the first fill caches, and show what is imported
_PAUSE = 2.0  # seconds between starts, which come when a function was not called for a while
_PREPARATION = 4.0  # seconds for what the engine prepares after these, once
_FLOWER = json.dumps({"features": [5.1, 3.5, 1.4, 0.2]})
_ALL = "all"

Phases = Mapping[str, float]


class ColdStarts:
    """Milliseconds by kind, and the phases of each."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.phases: dict[str, Phases] = {}

    def figures(self) -> dict[str, Figure]:
        trivial = modal.Function.from_name("bench-trivial", "cold")
        trivial.hydrate()
        snapshot = modal.Cls.from_name("bench-snapshot", "Snapshot")().predict
        endpoint, iris = self._request("bench-cold", "endpoint"), self._request("bench-cold", "iris", _FLOWER)
        return {
            "cold_start_trivial_ms": self._median("trivial function", "bench-trivial.cold", trivial.remote, goal=60),
            "cold_start_endpoint_ms": self._median("fastapi_endpoint", "bench-cold.endpoint", endpoint, goal=100),
            "cold_start_iris_ms": self._median("iris, scikit-learn", "bench-cold.iris", iris, goal=200),
            "cold_start_snapshot_ms": self._median("snapshot class", "bench-snapshot.Snapshot", lambda: snapshot.remote(1), goal=80),
        }

    def _median(self, kind: str, subject: str, ask: Callable[[], Any], *, goal: float) -> Figure:
        for _ in range(_UNCOUNTED):
            self._start(ask)
        time.sleep(_PREPARATION)
        typical = statistics.median(self._start(ask) for _ in range(_RUNS))
        self.phases[kind] = {**self._phases(subject), _ALL: typical}
        return Figure(typical, "ms", goal, "goal")

    def _start(self, ask: Callable[[], Any]) -> float:
        """Milliseconds from the call to its answer, with no container of any app at the beginning."""
        self._stop_containers()
        time.sleep(_PAUSE)
        asked = time.perf_counter()
        ask()
        return (time.perf_counter() - asked) * 1000

    def _stop_containers(self) -> None:
        for task in self._engine.call("TaskList", api_pb2.TaskListRequest()).tasks:
            self._engine.call("ContainerStop", api_pb2.ContainerStopRequest(task_id=task.task_id))
        self._engine.settle()

    def _phases(self, subject: str) -> Phases:
        """The medians of the most frequent kind of start among the last."""
        medians = ask_engine("ColdStart", subject=subject)["medians"].values()
        most = max(medians, key=lambda row: row["starts"], default={"phases": {}})
        return {name: span for name, span in most["phases"].items() if name != "input"}

    def _request(self, app: str, function: str, body: str = "") -> Callable[[], Any]:
        """One HTTP request over a new connection."""
        url = modal.Function.from_name(app, function).get_web_url() or ""
        headers = {"Host": url.removeprefix("http://").rstrip("/"), "Content-Type": "application/json"}

        def request() -> Any:
            connection = HTTPConnection(*self._engine.gateway, timeout=60)
            connection.request("POST" if body else "GET", "/", body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            if answer.status != HTTPStatus.OK:
                msg = f"{function} answered {answer.status}: {content[:300]!r}"
                raise RuntimeError(msg)
            return json.loads(content)

        return request
