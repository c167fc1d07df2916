"""Results as readers get them: one call's own by index, a map's along a cursor."""

from modal_proto import api_pb2

from freehold.control.services.live import LiveCall

_PAGE = 1000  # outputs in one answer


def failed(status: "api_pb2.GenericResult.GenericStatus.ValueType", text: str) -> api_pb2.FunctionGetOutputsItem:
    """A result that the engine writes itself, because the function could not."""
    return api_pb2.FunctionGetOutputsItem(result=api_pb2.GenericResult(status=status, exception=text))


def page_of(call: LiveCall, request: api_pb2.FunctionGetOutputsRequest) -> api_pb2.FunctionGetOutputsResponse:
    """By index range (one call's own result) or along the cursor (a map's reader)."""
    if request.HasField("start_idx"):
        wanted = range(request.start_idx, request.end_idx + 1)
        outputs = [call.latest[idx] for idx in wanted if idx in call.latest]
        cursor = len(call.outputs)
    else:
        start = _cursor(request.last_entry_id)
        outputs = call.outputs[start : start + (request.max_values or _PAGE)]
        cursor = start + len(outputs)
    return api_pb2.FunctionGetOutputsResponse(
        idxs=[item.idx for item in outputs],
        outputs=outputs,
        last_entry_id=f"{cursor}-0",
        num_unfinished_inputs=call.unfinished,
    )


def _cursor(entry_id: str) -> int:
    head = entry_id.split("-", 1)[0]
    return int(head) if head.isdigit() else 0
