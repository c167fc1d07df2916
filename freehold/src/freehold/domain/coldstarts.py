"""Cold starts: where the time between the wish for a container and its first answer goes, and what would make it shorter."""

import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from freehold.domain.errors import InvalidRequest
from freehold.domain.ids import FunctionId, TaskId

LATER = "later"  # the kind of a report of imports after the start
_LONGEST = 86400.0  # seconds that a start may take
_MOST_MOMENTS, _MOST_IMPORTS, _MOST_MODULES = 16, 40, 4000
_IS_MOMENT = re.compile(r"[a-z_]{1,20}", re.ASCII).fullmatch
_IS_MODULE = re.compile(r"\w[\w.]{0,199}").fullmatch  # mypyc's begin with a digit
_NO_REPORT = "That is no report of a start."
_SLOW = 0.05  # seconds that one package may take before there is something to say about it
_NAMED = 8  # packages


class Phase(StrEnum):
    """Named after the moment that ends it, in this order. A start may be without some: a forked one has no interpreter to start."""

    CONTAINER = "container"  # wanted → its first process runs: placement, root, network, runc
    PYTHON = "python"  # → our first line of code
    FORKED = "forked"  # instead of it: → our first line in a process that was forked from a zygote or a snapshot
    RUNTIME = "runtime"  # → modal's runtime is imported and connected
    IMPORTS = "imports"  # → the user's module is imported, with all that it imports
    ENTER = "enter"  # → enter hooks and the start of a web app are done: ready
    INPUT = "input"  # → its first input is taken: not a cost of the start
    OUTPUT = "output"  # → its first output


@dataclass(frozen=True, slots=True)
class Import:
    """A top-level package as one start has imported it. Seconds; `own` leaves out what other packages took meanwhile."""

    name: str
    total: float
    own: float
    origin: str  # image, client, python or app


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a container says of its start. `moments` are seconds of the monotonic clock."""

    kind: str  # plain, or what it was forked from
    moments: Mapping[str, float]
    imports: Sequence[Import] = ()
    modules: Sequence[str] = ()  # imported from the image's own packages, in this order


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """One start as far as it came. `moments` are seconds since the task was wanted, by phase."""

    task_id: TaskId
    function_id: FunctionId
    at: datetime
    kind: str
    moments: Mapping[str, float]
    imports: Sequence[Import] = ()
    no_snapshot: str = ""  # why it was not forked from its function's snapshot, if that wants one


def parse_report(payload: bytes) -> Report:
    """Raises InvalidRequest for what no container of ours says: it runs other people's code."""
    try:
        said = json.loads(payload)
        moments = {str(name): _seconds(value) for name, value in said["moments"].items() if _IS_MOMENT(str(name))}
        imports = [
            Import(name, _seconds(total), _seconds(own), str(origin)[:20])
            for name, total, own, origin in said["imports"]
            if _IS_MODULE(name)
        ]
        modules = [name for name in said["modules"] if _IS_MODULE(name)]  # programs may put anything into sys.modules
        kind = str(said["kind"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidRequest(_NO_REPORT) from error
    if len(moments) > _MOST_MOMENTS or len(imports) > _MOST_IMPORTS or len(modules) > _MOST_MODULES or not _IS_MOMENT(kind):
        raise InvalidRequest(_NO_REPORT)
    return Report(kind=kind, moments=moments, imports=imports, modules=modules)


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(value)
    return float(value)


def since(wanted_at: float, moments: Mapping[str, float]) -> dict[str, float]:
    """The moments as seconds since the task was wanted, without those that cannot be of this start."""
    spans = {name: moment - wanted_at for name, moment in moments.items()}
    return {name: span for name, span in spans.items() if 0 <= span <= _LONGEST}


def durations(start: ColdStart) -> dict[Phase, float]:
    """Seconds of each phase that was reached. Moments come from two processes: one that seems to be after its successor ends with it."""
    reached = [(phase, start.moments[phase]) for phase in Phase if phase in start.moments]
    latest, ends = math.inf, []
    for phase, moment in reversed(reached):
        latest = min(latest, moment)
        ends.append((phase, latest))
    spans, before = {}, 0.0
    for phase, end in reversed(ends):
        spans[phase], before = end - before, end
    return spans


def whole(spans: Mapping[Phase, float]) -> float:
    """Seconds of the start up to the first output, without the time in which there was no input."""
    return sum(span for phase, span in spans.items() if phase is not Phase.INPUT)


def medians(starts: Iterable[ColdStart]) -> dict[Phase, float]:
    """Of each phase, over the starts that had it."""
    all_spans = [durations(start) for start in starts]
    return {phase: statistics.median(found) for phase in Phase if (found := [spans[phase] for spans in all_spans if phase in spans])}


def slowest_imports(starts: Iterable[ColdStart]) -> list[Import]:
    """The median of each package over the starts that imported it, by its own part; those that are worth a line."""
    by_name: dict[str, list[Import]] = {}
    for start in starts:
        for item in start.imports:
            by_name.setdefault(item.name, []).append(item)
    typical = [
        Import(name, statistics.median(i.total for i in items), statistics.median(i.own for i in items), items[-1].origin)
        for name, items in by_name.items()
    ]
    worth = [item for item in typical if item.total >= _SLOW or item.own >= _SLOW / 2]
    return sorted(worth, key=lambda item: item.own, reverse=True)[:_NAMED]


def advice(item: Import) -> str:
    """What its owner can do about a slow import; empty where there is nothing."""
    match item.origin:
        case "image":
            return "import it in the function that needs it, or load it in @modal.enter(snap=True) with enable_memory_snapshot=True"
        case "app":
            return "your own module: what it does at import belongs into @modal.enter()"
        case _:
            return ""
