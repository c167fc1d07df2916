"""The story of a call, told by what is recorded of its inputs anyhow: nothing is written for it while the call is under way."""

from collections.abc import Iterator, Mapping

from modal_proto import api_pb2

from freehold.control.services.call_history import PastCall, PastInput
from freehold.domain.calls import Attempt, Invocation
from freehold.domain.ids import CallId
from freehold.observability.events import Event

_R = api_pb2.GenericResult
_MOST_INPUTS = 5  # that are told one by one
_ENDS: Mapping[int, str] = {
    _R.GENERIC_STATUS_SUCCESS: "success",
    _R.GENERIC_STATUS_TERMINATED: "cancelled",
    _R.GENERIC_STATUS_TIMEOUT: "timeout",
    _R.GENERIC_STATUS_INIT_FAILURE: "no container became ready",
    _R.GENERIC_STATUS_KERNEL_OOM_KILL: "out of memory",
}


def events_of(call: PastCall) -> list[Event]:
    """Oldest first: made, begun and ended on this container and that, its results. Of a map with many inputs, those that failed are told."""
    found = [_made(call)]
    for item in _worth_telling(call):
        found += _of_input(call.record.id, item, is_alone=call.tally.total == 1)
    tally = call.tally
    if tally.total > 1 and not tally.unfinished and tally.ended_at is not None:
        found.append(Event(subject=call.record.id, at=tally.ended_at, kind="call_ended", fields={"inputs": str(tally.total)}))
    return sorted(found, key=lambda event: event.at)


def _made(call: PastCall) -> Event:
    kind = "asynchronous" if call.record.invocation is Invocation.ASYNC else "synchronous"
    fields = {"by": call.record.parent_input_id} if call.record.parent_input_id else {}
    return Event(subject=call.record.id, at=call.record.created_at, kind="call_made", cause=f"{kind} {call.record.kind}", fields=fields)


def _worth_telling(call: PastCall) -> list[PastInput]:
    few = call.inputs if call.tally.total <= _MOST_INPUTS else [item for item in call.inputs if item.status != _R.GENERIC_STATUS_SUCCESS]
    return list(few[:_MOST_INPUTS])


def _of_input(call_id: CallId, item: PastInput, *, is_alone: bool) -> Iterator[Event]:
    which = {} if is_alone else {"input": item.id}
    for attempt in item.tries:
        yield from _of_try(call_id, attempt, which)
    if item.finished_at is not None:
        yield Event(subject=call_id, at=item.finished_at, kind="result_written", cause=_ENDS.get(item.status, "failed"), fields=which)


def _of_try(call_id: CallId, attempt: Attempt, which: Mapping[str, str]) -> Iterator[Event]:
    fields = {**which, "try": str(attempt.number + 1), "container": attempt.task_id}
    yield Event(subject=call_id, at=attempt.started_at, kind="try_began", fields=fields)
    if attempt.ended_at is not None and attempt.outcome:
        yield Event(subject=call_id, at=attempt.ended_at, kind="try_ended", cause=attempt.outcome, fields=fields)
