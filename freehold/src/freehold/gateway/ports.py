"""What the gateway needs from the control plane to carry one web request (or WebSocket) to a container."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, TypeVar

from freehold.domain.functions import WebRoute, WebTarget
from freehold.domain.ids import CallId, EnvironmentId, FunctionId, InputId, TaskId

AsgiMessage = Mapping[str, Any]


class WebCall(Protocol):
    """One exchange with a container, as ASGI messages.

    `send` carries what an ASGI application receives (`http.request`, `http.disconnect`, `websocket.*`); it waits while the
    container is slow. `messages` yields what it sends (`http.response.start`, `http.response.body`, `websocket.*`), and ends after the last.
    If the input ends before its response is complete, `messages` raises Unavailable (no container could start; the text says where the
    log is) or DeadlineExceeded (the function's timeout). `cancel` tells the container that nobody waits any more.
    """

    @property
    def call_id(self) -> CallId: ...

    async def send(self, message: AsgiMessage) -> None: ...

    def messages(self) -> AsyncIterator[AsgiMessage]: ...

    async def cancel(self) -> None: ...


class WebCalls(Protocol):
    async def target_of_label(self, label: str) -> WebTarget:
        """Raises NotFound with what is deployed instead."""
        ...

    async def open(self, target: WebTarget, scope: Mapping[str, Any]) -> WebCall:
        """Queue the request as an input of the function; `scope` is the ASGI scope without `state`, `app` and other local objects."""
        ...


class Lane(Protocol):
    """One container that serves HTTP itself. `address` is the path of a unix socket, or host and port."""

    @property
    def id(self) -> TaskId: ...

    @property
    def address(self) -> str | tuple[str, int]: ...


LaneT = TypeVar("LaneT", bound=Lane)


class Lanes(Protocol[LaneT]):
    """Where web requests go. Each lane that is handed out is booked for one request, and released exactly once."""

    def route(self, label: str) -> WebRoute:
        """Raises NotFound with what is deployed instead."""
        ...

    def route_of_host(self, host: str) -> WebRoute | None:
        """What a domain of the user's own means; None if nothing here."""
        ...

    def take(self, target: WebTarget, session: str = "") -> LaneT | None:
        """A lane with room, or None: then `wait`."""
        ...

    async def wait(self, target: WebTarget, patience: float, session: str = "") -> LaneT | None:
        """A lane as soon as there is one; None if containers of this function take web requests as inputs (`WebCalls.open`).

        Raises NotFound (no such function any more), ResourceExhausted (too many wait), DeadlineExceeded (no room within `patience`
        seconds) and Unavailable (no container can start; the text says why and where the log is).
        """
        ...

    def release(self, lane: LaneT) -> None: ...

    def lost(self, lane: LaneT) -> None:
        """Its socket refuses connections: for a moment it gets no new requests."""
        ...

    def timed_out(self, lane: LaneT) -> None:
        """A request had its whole time there and may still run: the container takes no more, and is replaced."""
        ...


class Measured(Protocol):
    """Told of each request that has ended, once."""

    def __call__(self, target: WebTarget, place: bytes, task_id: str, status: int, *, latency: float, execution: float) -> None:
        """`place` is path and query. `status` is 0 if the caller left before there was one. Seconds: since the request came, and since a container was found
        for it (0 if none was).
        """
        ...


class ProxyTokens(Protocol):
    def accepts(self, key: str, secret: str, environment_id: EnvironmentId | None = None) -> bool:
        """Whether this is a token and its secret, and opens that environment."""
        ...


class Traces(Protocol):
    """What is remembered of web requests that go to their containers as they come."""

    def context(self, call_id: CallId, input_id: InputId, traceparent: bytes) -> bytes:
        """The field `traceparent` for the container of a request that has begun, by what its caller has sent; empty for none."""
        ...

    def note(self, call_id: CallId, seen: tuple[FunctionId, str, int, float, float, float, float, str, bytes]) -> None:
        """A request has ended: its function, method and status; when it began, was given a container, had its first byte of a response, and
        ended (seconds since 1970, 0 for never); its task, and its caller's `traceparent`.
        """
        ...
