"""What the autoscaler decided, and why: the latest for each function in memory, each change as an event."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from freehold.control.services.journal import Journal
from freehold.domain.autoscaling import Decision, Verdict
from freehold.domain.ids import FunctionId
from freehold.domain.sharing import Shortage

log = structlog.get_logger()

_KINDS = {
    Verdict.START: "tasks_started",
    Verdict.HELD_BACK: "start_held_back",
    Verdict.NOT_YET: "start_delayed",
    Verdict.RELEASE: "tasks_released",
}
_ONCE = {"start_held_back", "start_delayed", "machine_full"}  # a state that lasts: its numbers may change, it is one event


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The latest decision about a function, and what it wanted and did not get."""

    decision: Decision
    shortage: Shortage | None = None


class Decisions:
    def __init__(self, *, journal: Journal) -> None:
        self._journal = journal
        self._standing: dict[FunctionId, Standing] = {}
        self._said: dict[FunctionId, tuple[str, str]] = {}

    def latest(self, function_id: FunctionId) -> Standing | None:
        """None for a function that has neither inputs nor tasks nor a minimum."""
        return self._standing.get(function_id)

    def record(self, function_id: FunctionId, decision: Decision, shortage: Shortage | None) -> None:
        """Note it, and write an event if it differs from the one before."""
        self._standing[function_id] = Standing(decision=decision, shortage=shortage)
        if shortage is not None:
            self._say(function_id, "machine_full", shortage.no_place.reason, {**decision.numbers, "missing": shortage.missing})
        elif (kind := _KINDS.get(decision.verdict)) is not None:
            self._say(function_id, kind, decision.reason, {**decision.numbers, **_moved(decision)})
        elif self._said.get(function_id, ("", ""))[0] in _ONCE:
            del self._said[function_id]  # it is over: the next time is another event

    def keep_only(self, function_ids: Iterable[FunctionId]) -> None:
        """Others have nothing that could be decided."""
        kept = set(function_ids)
        self._standing = {function_id: standing for function_id, standing in self._standing.items() if function_id in kept}
        self._said = {function_id: said for function_id, said in self._said.items() if function_id in kept}

    def _say(self, function_id: FunctionId, kind: str, reason: str, numbers: Mapping[str, int]) -> None:
        said = (kind, "" if kind in _ONCE else reason)
        if self._said.get(function_id) == said:
            return
        self._said[function_id] = said
        self._journal.event(function_id, kind, cause=reason, fields={name: str(number) for name, number in numbers.items()})
        if kind == "machine_full":
            log.warning("machine_full", function_id=function_id, why=reason, missing=numbers["missing"])


def _moved(decision: Decision) -> dict[str, int]:
    return {"started": decision.start, "released": len(decision.release)}
