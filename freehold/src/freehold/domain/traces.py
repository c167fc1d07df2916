"""The trace of a call or a web request: spans made of what the engine has recorded of it anyhow, for a waterfall and for OpenTelemetry.

call shop.f                        from its making to its last result
├─ queue                           until a container takes the input
│  └─ container start              if it waited for one: since that was wanted
│     ├─ container · python (or forked) · runtime · imports · enter
└─ run                             one try on one container
   ├─ user code                    as the container says it
   └─ call shop.g                  what it calls, and waits for or not

GET shop.site                      a web request that its container serves itself
├─ queue
└─ run
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from freehold.domain.calls import Attempt
from freehold.domain.coldstarts import ColdStart, Phase
from freehold.domain.ids import CallId, InputId, TaskId
from freehold.domain.trace_contexts import TraceParent, call_span, digest, run_span

Value = str | int | float | bool

_START = "container start"
_INDEX = "freehold.index"  # of an input in its map
_STARTING = (Phase.CONTAINER, Phase.PYTHON, Phase.FORKED, Phase.RUNTIME, Phase.IMPORTS, Phase.ENTER)
_MOST_INPUTS = 100  # of one call that have spans


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that took time. `parent` is another's id, perhaps one outside; `ends_at` is None while it lasts."""

    name: str
    id: str
    parent: str
    begins_at: datetime
    ends_at: datetime | None
    attributes: Mapping[str, Value] = field(default_factory=dict)
    is_error: bool = False
    is_server: bool = False  # it begins with a request from outside


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Parents come before their children, those as `in_order` has them."""

    id: str
    spans: Sequence[Span]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFacts:
    """`ran` are the moments between which its code ran, by the clock of its container; `end` is in words, empty without a result."""

    id: InputId
    idx: int
    tries: Sequence[Attempt]
    finished_at: datetime | None = None
    end: str = ""
    is_failure: bool = False
    ran: tuple[datetime, datetime] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """A call and its inputs. `parent_input_id` is of the input that made it."""

    id: CallId
    function: str
    created_at: datetime
    inputs: Sequence[InputFacts]
    parent_input_id: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """A web request that went to its container as it came. `booked_at` is when it was given one."""

    call_id: CallId
    function: str
    method: str
    status: int
    began_at: datetime
    ended_at: datetime
    booked_at: datetime | None = None
    answered_at: datetime | None = None  # the first byte of its response
    task_id: str = ""
    origin: TraceParent | None = None  # what its caller said


def spans_of_request(facts: RequestFacts, input_id: InputId, start: ColdStart | None = None) -> list[Span]:
    root = call_span(facts.call_id)
    told: dict[str, Value] = {"http.request.method": facts.method, "freehold.function": facts.function, "freehold.call_id": facts.call_id}
    spans = [
        Span(
            name=f"{facts.method} {facts.function}",
            id=root,
            parent=facts.origin.span_id if facts.origin else "",
            begins_at=facts.began_at,
            ends_at=facts.ended_at,
            attributes=told | ({"http.response.status_code": facts.status} if facts.status else {}),
            is_error=facts.status >= 500 or not facts.status,  # noqa: PLR2004 — HTTP's
            is_server=True,
        )
    ]
    spans += _queue(root, facts.call_id, (facts.began_at, facts.booked_at or facts.ended_at), start)
    if facts.booked_at is not None:
        seen: dict[str, Value] = {"freehold.task_id": facts.task_id}
        if facts.answered_at is not None:
            seen["freehold.time_to_response"] = round((facts.answered_at - facts.booked_at).total_seconds(), 6)
        run = run_span(input_id)
        spans.append(Span(name="run", id=run, parent=root, begins_at=facts.booked_at, ends_at=facts.ended_at, attributes=seen))
    return spans


def spans_of_call(facts: CallFacts, starts: Mapping[TaskId, ColdStart], *, parent: str = "") -> list[Span]:
    """`parent` is the span that it was made in; `starts` are those of the containers that it may have waited for. Where several inputs
    waited for one container, its start is told once.
    """
    root, untold = call_span(facts.id), dict(starts)
    shown = sorted(facts.inputs, key=lambda item: item.idx)[:_MOST_INPUTS]
    ends = [item.finished_at for item in facts.inputs]
    spans = [
        Span(
            name=f"call {facts.function}",
            id=root,
            parent=parent,
            begins_at=facts.created_at,
            ends_at=max((end for end in ends if end), default=facts.created_at) if all(ends) else None,
            attributes={
                "freehold.call_id": facts.id,
                "freehold.function": facts.function,
                "freehold.inputs": len(facts.inputs),
                **facts.attributes,
            },
            is_error=any(item.is_failure for item in facts.inputs),
            is_server=not parent,
        )
    ]
    for item in shown:
        of_input = _of_input(root, facts, item, untold, is_alone=len(facts.inputs) == 1)
        for span in of_input:
            if span.name == _START:
                untold.pop(TaskId(str(span.attributes["freehold.task_id"])), None)
        spans += of_input
    return spans


def parent_of(input_id: InputId, tries: Sequence[Attempt], moment: datetime) -> str:
    """The span of the try of an input in which something was made at that moment."""
    begun = [attempt.number for attempt in tries if attempt.started_at <= moment]
    return run_span(input_id, max(begun, default=0))


def in_order(spans: Iterable[Span]) -> list[Span]:
    """Parents before their children, those by the input of a map that they belong to, and by their beginnings. What has a parent outside
    comes first.
    """
    spans = sorted(spans, key=lambda span: (_index(span), span.begins_at))
    ids, children = {span.id for span in spans}, dict[str, list[Span]]()
    for span in spans:
        children.setdefault(span.parent if span.parent in ids and span.parent != span.id else "", []).append(span)
    ordered: list[Span] = []
    waiting = children.pop("", [])[::-1]
    while waiting or children:
        if not waiting:  # what clients send as a parent may be anything, a circle too
            waiting = children.pop(next(iter(children)))[::-1]
        span = waiting.pop()
        ordered.append(span)
        waiting += children.pop(span.id, [])[::-1]
    return ordered


def _index(span: Span) -> int:
    found = span.attributes.get(_INDEX)
    return found if isinstance(found, int) else -1


def _of_input(root: str, facts: CallFacts, item: InputFacts, starts: Mapping[TaskId, ColdStart], *, is_alone: bool) -> list[Span]:
    mark: dict[str, Value] = {"freehold.input_id": item.id}
    if not is_alone:
        mark[_INDEX] = item.idx
    spans: list[Span] = []
    since = facts.created_at
    for attempt in sorted(item.tries, key=lambda attempt: attempt.number):
        start = starts.get(attempt.task_id)
        spans += _queue(root, f"{item.id} {attempt.number}", (since, attempt.started_at), start, mark)
        is_last = attempt is item.tries[-1]
        ended = attempt.ended_at or (item.finished_at if is_last else None)
        run = run_span(item.id, attempt.number)
        told = mark | {"freehold.task_id": attempt.task_id, "freehold.attempt": attempt.number}
        outcome = attempt.outcome or (item.end if is_last else "")
        spans.append(
            Span(
                name="run",
                id=run,
                parent=root,
                begins_at=attempt.started_at,
                ends_at=ended,
                attributes=told | ({"freehold.outcome": outcome} if outcome else {}),
                is_error=bool(attempt.outcome) or (is_last and item.is_failure),
            )
        )
        if is_last and item.ran and ended:
            spans.append(_user_code(run, item, attempt.started_at, ended))
        since = ended or attempt.started_at
    if not item.tries:
        spans += _queue(root, f"{item.id} 0", (since, item.finished_at), None, mark)
    return spans


def _user_code(run: str, item: InputFacts, earliest: datetime, latest: datetime) -> Span:
    """Within the try, whatever the container's clock says."""
    assert item.ran is not None
    begin, end = (min(max(moment, earliest), latest) for moment in item.ran)
    return Span(name="user code", id=digest(f"code {run}", 8), parent=run, begins_at=begin, ends_at=end, is_error=item.is_failure)


def _queue(
    root: str, key: str, waited: tuple[datetime, datetime | None], start: ColdStart | None, mark: Mapping[str, Value] | None = None
) -> list[Span]:
    begin, end = waited
    queue = Span(name="queue", id=digest(f"queue {key}", 8), parent=root, begins_at=begin, ends_at=end, attributes=mark or {})
    if start is None or end is None or not _waited_for(start, begin, end):
        return [queue]
    return [queue, *_of_start(start, queue.id, f"{key} {start.task_id}")]


def _waited_for(start: ColdStart, begin: datetime, end: datetime) -> bool:
    """Whether a container was not ready when something came that it took in the end."""
    ready = start.moments.get(Phase.ENTER)
    return ready is not None and start.at + timedelta(seconds=ready) > begin and start.at < end


def _of_start(start: ColdStart, parent: str, key: str) -> list[Span]:
    begin = start.at
    known = [(phase, begin + timedelta(seconds=start.moments[phase])) for phase in _STARTING if phase in start.moments]
    own = digest(f"start {key}", 8)
    told: dict[str, Value] = {"freehold.task_id": start.task_id, "freehold.start": start.kind}
    spans = [Span(name=_START, id=own, parent=parent, begins_at=begin, ends_at=known[-1][1], attributes=told)]
    for phase, end in known:
        spans.append(Span(name=str(phase), id=digest(f"{phase} {key}", 8), parent=own, begins_at=begin, ends_at=max(end, begin)))
        begin = max(end, begin)
    return spans
