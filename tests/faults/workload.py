"""Calls that are under way, and what was promised for each: an acknowledged input gives its result, whatever happens around it."""

import re
from collections import Counter
from dataclasses import dataclass, field

import modal
from conformance.engine import Engine
from conformance.waiting import eventually
from modal_proto import api_pb2

from faults.database import reading

_WITHIN = 90.0  # seconds from the last fault to the last result


@dataclass
class Workload:
    """One deployment of `apps/work.py` and what was asked of it. `accepted`: call id → the token that it must give."""

    engine: Engine
    app: str = "work"
    accepted: dict[str, str] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)  # call id → words of the error that it must give
    _client: modal.Client | None = None

    @property
    def client(self) -> modal.Client:
        if self._client is None:
            self._client = self.engine.client()
        return self._client

    def fresh_client(self) -> modal.Client:
        """One that remembers nothing of before."""
        self.close()
        return self.client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def function(self, name: str) -> modal.Function:
        return modal.Function.from_name(self.app, name, client=self.client).hydrate()

    def spawn(self, name: str, token: str, *args: object) -> str:
        """The id of the call, once the engine has acknowledged it."""
        call_id = self.function(name).spawn(token, *args).object_id
        self.accepted[call_id] = token
        return call_id

    def spawn_failing(self, words: str, name: str, token: str, *args: object) -> str:
        call_id = self.function(name).spawn(token, *args).object_id
        self.failing[call_id] = words
        return call_id

    def result(self, call_id: str, *, within: float = _WITHIN) -> object:
        return modal.FunctionCall.from_id(call_id, client=self.client).get(timeout=within)

    def result_of(self, token: str) -> object:
        return self.result(next(call_id for call_id, wanted in self.accepted.items() if wanted == token))

    def alive(self) -> set[str]:
        """Its tasks, as `modal container list` gets them."""
        return {task.task_id for task in self.engine.call("TaskList", api_pb2.TaskListRequest(app_id=self.app_id)).tasks}

    def finished(self) -> int:
        """How many of the accepted calls have their result on disk."""
        with reading(self.engine.home) as database:
            done = {row[0] for row in database.execute("SELECT call_id FROM inputs WHERE result IS NOT NULL")}
        return len(done & self.accepted.keys())

    @property
    def app_id(self) -> str:
        return str(self.engine.call("AppGetByDeploymentName", api_pb2.AppGetByDeploymentNameRequest(name=self.app)).app_id)

    def runs(self) -> Counter[str]:
        """How often each token was executed, by the log. A line that was in a pipe when the engine was killed is not in it."""
        return Counter(token for _, text in self._logged("ran ") for token in _tokens(text))

    def task_of(self, token: str) -> str:
        """The task that ran the token last, by the log."""
        return self._tasks_that_ran(token)[-1]

    def wait_until_running(self, token: str, *, within: float = 60) -> None:
        eventually(lambda: self._tasks_that_ran(token), within=within, what=f"{token} running")

    def _tasks_that_ran(self, token: str) -> list[str]:
        return [task_id for task_id, text in self._logged(f"ran {token}") if token in _tokens(text)]

    def _logged(self, words: str) -> list[tuple[str, str]]:
        """Task and text of each log entry with these words."""
        request = api_pb2.AppFetchLogsRequest(app_id=self.app_id, search_text=words, limit=100_000)
        batches = self.engine.call("AppFetchLogs", request).batches
        return [(batch.task_id, item.data) for batch in batches for item in batch.items]

    def cancel(self, call_id: str, words: str) -> None:
        """The result of an accepted call becomes this error."""
        modal.FunctionCall.from_id(call_id, client=self.client).cancel()
        del self.accepted[call_id]
        self.failing[call_id] = words


def _tokens(text: str) -> list[str]:
    """Of a piece of log, which may end before its newline."""
    return re.findall(r"ran (\S+)", text)
