"""What HTTP and WebSocket exchanges share: waiting for the first word of a container, and giving up a call."""

import contextlib
import math
from collections.abc import AsyncIterator
from datetime import timedelta

import anyio

from freehold.domain.errors import DeadlineExceeded, FreeholdError, Unavailable
from freehold.gateway.ports import AsgiMessage, WebCall

_FAREWELL_SECONDS = 0.5  # an app that does not read its messages does not hear this one either
_CANCEL_SECONDS = 5.0  # a control plane that is itself stopping may not listen; then the lease of the attempt decides


class Patience:
    """How long the caller waits for the first message of the container, counted from the last piece of the caller's own request."""

    def __init__(self, limit: timedelta) -> None:
        self._seconds = limit.total_seconds()
        self._scope = anyio.CancelScope()
        self._is_over = False

    def renew(self) -> None:
        self._scope.deadline = math.inf if self._is_over else anyio.current_time() + self._seconds

    async def first(self, messages: AsyncIterator[AsgiMessage]) -> AsgiMessage:
        self.renew()
        with self._scope:
            message = await anext(messages, None)
            self._is_over = True
            return _existing(message)
        text = f"The function did not begin its response within {self._seconds:g} s (the setting FREEHOLD_HTTP_REQUEST_TIMEOUT)."
        raise DeadlineExceeded(text)


async def abandon(call: WebCall, farewell: AsgiMessage) -> None:
    """Tell the container that nobody waits any more, whatever is being cancelled around us. Harmless when the call has ended."""
    with anyio.move_on_after(_FAREWELL_SECONDS, shield=True):
        await send_quietly(call, farewell)
    with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
        await call.cancel()


async def send_quietly(call: WebCall, message: AsgiMessage) -> None:
    """A call that cannot be spoken to any more says why in its messages, and those are read elsewhere."""
    with contextlib.suppress(FreeholdError):
        await call.send(message)


def _existing(message: AsgiMessage | None) -> AsgiMessage:
    if message is None:
        text = "The function ended without a response; `modal app logs <app>` shows its log."
        raise Unavailable(text)
    return message
