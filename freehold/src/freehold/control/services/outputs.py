"""Results as readers get them: one call's own by index, a map's along a cursor."""

from collections.abc import Sequence

from modal_proto import api_pb2

from freehold.control.services.live import LiveCall
from freehold.domain.calls import CallKind
from freehold.wire.tickets import InputTicket

_GENERIC = api_pb2.GenericResult
_PAGE = 1000  # outputs in one answer
_CANCELLED = "The function call was cancelled."
_SUMMARY = 500  # characters of an outcome
_MENDABLE = {_GENERIC.GENERIC_STATUS_SUCCESS, _GENERIC.GENERIC_STATUS_TERMINATED, _GENERIC.GENERIC_STATUS_TIMEOUT}


def failed(status: "api_pb2.GenericResult.GenericStatus.ValueType", text: str) -> api_pb2.FunctionGetOutputsItem:
    """A result that the engine writes itself, because the function could not."""
    return api_pb2.FunctionGetOutputsItem(result=api_pb2.GenericResult(status=status, exception=text))


def cancelled() -> api_pb2.FunctionGetOutputsItem:
    return failed(_GENERIC.GENERIC_STATUS_TERMINATED, _CANCELLED)


def say_cancelled(result: api_pb2.GenericResult) -> None:
    """A container says without a word that an input was cancelled; its caller is to read why nothing came."""
    if result.status == _GENERIC.GENERIC_STATUS_TERMINATED and not result.exception:
        result.exception = _CANCELLED


def summary_of(result: api_pb2.GenericResult) -> str:
    """Why a try failed, in a line or two."""
    status = _GENERIC.GenericStatus.Name(result.status).removeprefix("GENERIC_STATUS_").lower().replace("_", " ")
    return f"{status}: {result.exception[:_SUMMARY]}" if result.exception else status


def lost(tickets: Sequence[InputTicket]) -> api_pb2.FunctionGetOutputsResponse:
    """For inputs that a client waits for and this engine does not know: the client sends them again, without counting it."""
    response = api_pb2.FunctionGetOutputsResponse(last_entry_id="0-0", num_unfinished_inputs=len(tickets))
    add_lost(response, tickets)
    return response


def add_lost(response: api_pb2.FunctionGetOutputsResponse, tickets: Sequence[InputTicket]) -> None:
    for ticket in tickets:
        item = failed(_GENERIC.GENERIC_STATUS_INTERNAL_FAILURE, "The engine was restarted.")
        item.idx, item.input_id, item.retry_count = ticket.idx, ticket.input_id, ticket.attempt
        response.idxs.append(item.idx)
        response.outputs.append(item)


def cut_short() -> api_pb2.FunctionGetOutputsItem:
    """The end of a request that no other container can go on with."""
    return failed(api_pb2.GenericResult.GENERIC_STATUS_FAILURE, "Its container was stopped in the middle of this request.")


def page_of(call: LiveCall, request: api_pb2.FunctionGetOutputsRequest) -> api_pb2.FunctionGetOutputsResponse:
    """By index range (one call's own result) or along the cursor (a map's reader)."""
    if request.HasField("start_idx"):
        outputs = [_final(call, item, request) for item in _between(call, request.start_idx, request.end_idx)]
        cursor = len(call.outputs)
    else:
        start = _cursor(call, request.last_entry_id)
        outputs = call.outputs[start : start + (request.max_values or _PAGE)]
        cursor = start + len(outputs)
    return api_pb2.FunctionGetOutputsResponse(
        idxs=[item.idx for item in outputs],
        outputs=outputs,
        last_entry_id=entry_id(call, cursor),
        num_unfinished_inputs=call.unfinished,
    )


def entry_id(call: LiveCall, cursor: int) -> str:
    return f"{cursor}-{call.epoch}"


def _between(call: LiveCall, first: int, last: int) -> list[api_pb2.FunctionGetOutputsItem]:
    """Clients ask for ranges that they choose: no wider than what is there."""
    if last - first < len(call.latest):
        return [call.latest[idx] for idx in range(first, last + 1) if idx in call.latest]
    return [call.latest[idx] for idx in sorted(call.latest) if first <= idx <= last]


def _final(
    call: LiveCall, item: api_pb2.FunctionGetOutputsItem, request: api_pb2.FunctionGetOutputsRequest
) -> api_pb2.FunctionGetOutputsItem:
    """A client is told to retry so that its call outlives a restart of the engine (`CallRpcs.FunctionMap`). Where its function has no
    retries, a failure is its last word, and travels as one: with the status after which no client retries, and all else as it was.
    """
    is_retried = bool(request.input_jwts) and call.record.kind is CallKind.UNARY and not call.is_durable
    if not is_retried or call.retry_policy.retries or item.result.status in _MENDABLE:
        return item
    told = api_pb2.FunctionGetOutputsItem()
    told.CopyFrom(item)
    told.result.status = _GENERIC.GENERIC_STATUS_TERMINATED
    return told


def _cursor(call: LiveCall, text: str) -> int:
    """From the beginning for what is no such place, or one in the call as an earlier engine knew it."""
    place, _, epoch = text.partition("-")
    is_known = place.isascii() and place.isdigit() and (epoch == str(call.epoch) or not epoch)
    return int(place) if is_known else 0
