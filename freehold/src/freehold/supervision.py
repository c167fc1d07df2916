"""What an engine and its supervisor (`cli.supervisor`) say to each other, as the engine sees it. An engine may also run without one."""

import ctypes
import os
import signal
import socket
from dataclasses import dataclass
from typing import Self

_PR_SET_PDEATHSIG = 1
_ANSWER_SECONDS = 5.0
_BIND, _READY = b"b", b"r"


@dataclass(frozen=True, slots=True)
class Supervision:
    """`gateway` is the listening socket that the engine inherits; None where nobody supervises."""

    gateway: socket.socket | None = None
    _supervisor: socket.socket | None = None

    @classmethod
    def read(cls, text: str) -> Self:
        """From the descriptors that the supervisor names on the command line. The engine dies with its supervisor."""
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        supervisor, gateway = (int(part) for part in text.split(","))
        for descriptor in (supervisor, gateway):
            os.set_inheritable(descriptor, False)
        talk = socket.socket(fileno=supervisor)
        if _is_closed(talk):
            raise SystemExit(1)
        talk.settimeout(_ANSWER_SECONDS)
        return cls(socket.socket(fileno=gateway), talk)

    def free_port(self) -> None:
        """The supervisor lets go of the control plane's port, which it has held since the last engine."""
        if self._supervisor is not None:
            self._supervisor.sendall(_BIND)
            self._supervisor.recv(1)

    def say_ready(self) -> None:
        if self._supervisor is not None:
            self._supervisor.sendall(_READY)


def _is_closed(talk: socket.socket) -> bool:
    """Whether the supervisor died before the kernel was told to end us with it."""
    try:
        return talk.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
