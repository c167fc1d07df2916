"""What calls and web requests were made in, and what the code that runs for them is told of it.

While the engine sends traces, its own spans are links of the chain: a container is told of the `run` that it works on. Otherwise it is told
what the caller said, so that their spans fit together without ours.
"""

from collections import OrderedDict

from freehold.control.services.live import LiveInput
from freehold.domain.ids import CallId, InputId, call_of_request
from freehold.domain.trace_contexts import TraceParent, read_traceparent, within_run

_ENDED = 5_000  # web requests whose code may still call something


class TraceContexts:
    """`are_sent` says whether the engine sends traces."""

    def __init__(self) -> None:
        self.are_sent = False
        self._open: dict[CallId, bytes] = {}  # web requests under way, and what their callers said: all while traces are sent
        self._ended: OrderedDict[CallId, bytes] = OrderedDict()

    def request_began(self, call_id: CallId, input_id: InputId, traceparent: bytes) -> bytes:
        """The field `traceparent` for its container; empty for none."""
        if not self.are_sent and not traceparent:
            return b""
        self._open[call_id] = traceparent
        if not self.are_sent:
            return traceparent
        return str(within_run(call_id, input_id, 0, _read(traceparent))).encode()

    def request_ended(self, call_id: CallId) -> None:
        said = self._open.pop(call_id, None)
        if said is not None:
            self._ended[call_id] = said
            if len(self._ended) > _ENDED:
                self._ended.popitem(last=False)

    def of_request(self, input_id: InputId) -> TraceParent | None:
        """What happens within a web request is in; None if it is not known."""
        call_id = call_of_request(input_id)
        said = self._open.get(call_id, self._ended.get(call_id))
        if said is None:
            return None
        return within_run(call_id, input_id, 0, _read(said)) if self.are_sent else _read(said)

    def of_input(self, live: LiveInput) -> TraceParent | None:
        """What happens within its current try is in; None for nothing that anybody would know."""
        origin = live.call.record.origin
        if not self.are_sent:
            return origin
        return within_run(live.call.id, live.id, live.tries[-1].number if live.tries else 0, origin)


def _read(traceparent: bytes) -> TraceParent | None:
    return read_traceparent(traceparent.decode("latin-1"))
