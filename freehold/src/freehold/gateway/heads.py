"""HTTP as uvicorn reads it, with a bound: what has no end yet lies in memory, and nobody knows yet who sends it."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LIMIT = 128 * 1024  # bytes of address and fields; servers in front of this one commonly allow 8 to 64 KiB


class BoundedHeads(HttpToolsProtocol):
    """Ends connections that send on and on without anything that could be handed to an application: endless fields, also trailing ones."""

    _waiting = 0  # bytes since the parser last had something to hand on

    def data_received(self, data: bytes) -> None:
        self._waiting += len(data)
        super().data_received(data)
        if self._waiting > LIMIT and not self.transport.is_closing():
            self.send_400_response(f"The address and fields of a request may have {LIMIT // 1024} KiB.")

    def on_headers_complete(self) -> None:
        self._waiting = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._waiting = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._waiting = 0
        super().on_message_complete()
