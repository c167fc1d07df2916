"""What every request under way has, whichever way it takes: its caller, who may leave or be sent away for a while, and its time."""

from typing import Protocol

from starlette.responses import Response

from freehold.gateway.heads import Head
from freehold.gateway.state import ServerState


class Caller(Protocol):
    """Where a response goes: a connection, or a shelf while nobody is connected."""

    exchange: "Exchange | None"
    has_begun: bool
    is_slow: bool

    @property
    def is_awaited(self) -> bool:
        """It keeps the exchange waiting: for more of its request, or until it has taken more of the response."""
        ...

    def inform(self, status: int, lines: bytes = b"") -> None: ...

    def switch(self, lines: bytes) -> None:
        """101: from now on bytes pass as they are."""
        ...

    def begin(self, status: int, lines: bytes, length: bytes | None) -> None: ...

    def send(self, data: bytes) -> None: ...

    def flush(self) -> None: ...

    def finish(self) -> None: ...

    def cut(self) -> None: ...

    def answer(self, response: Response) -> None: ...

    def refuse(self, error: Exception) -> None:
        """Say what went wrong; if the response has begun, cut it."""
        ...

    def hold(self) -> None:
        """No more of the request for now."""
        ...

    def let_go(self) -> None: ...


class Exchange:
    """`start` is called once, with what of the body is there; then `receive` with the rest of it.

    An exchange ends by `finish`, `cut` or `refuse` of its caller, or by `abandon`; after that nothing is called.
    """

    __slots__ = ("call_id", "caller", "head", "is_complete", "kind", "owner", "since", "state", "was_put_off")

    kind: str  # as the metrics name it

    def __init__(self, state: ServerState, caller: Caller, head: Head) -> None:
        self.state = state
        self.caller = caller
        self.head = head
        self.call_id = ""  # empty: it cannot be put off
        self.since = state.now  # when its caller began to wait
        self.is_complete = False  # the request is here
        self.was_put_off = False
        self.owner: object = None  # whose the request is: what was put off is given to nobody else

    def start(self, content: bytes, is_complete: bool) -> None:
        raise NotImplementedError

    def receive(self, content: bytes, is_complete: bool) -> None:
        raise NotImplementedError

    def abandon(self) -> None:
        """Nobody waits for this any more."""
        raise NotImplementedError

    def caller_left(self) -> None:
        if self.was_put_off and not self.caller.has_begun:
            self.state.late.keep(self)
        else:
            self.abandon()

    def caller_is_slow(self) -> None:
        pass

    def caller_is_ready(self) -> None:
        pass

    def check(self, now: float) -> None:
        """Called about four times a second."""
        if self.is_complete and self.call_id and not self.caller.has_begun:
            self.state.late.put_off_if_due(self, now)
