"""What the gateway needs from the control plane to carry one web request (or WebSocket) to a container."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from freehold.domain.functions import WebTarget
from freehold.domain.ids import CallId
from freehold.observability.events import Story

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


class Stories(Protocol):
    async def of(self, subject: str) -> Story:
        """What is known of one id. Raises NotFound."""
        ...
