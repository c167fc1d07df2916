"""What `freehold up` becomes: starts the engine, and starts it again when it dies.

Clients that wait for a result try to connect again for less than a second. So the supervisor keeps the ports answering while there is no
engine: the gateway's listener belongs to it and every engine inherits that; the control plane's port, whose server cannot inherit one, it
holds from the death of an engine until the next one asks for it. Who connects meanwhile waits instead of being refused.

Run by its path with the standard library alone, so that it costs a few megabytes.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from types import FrameType

BIND, READY, GONE = b"b", b"r", b"g"  # the engine is about to bind its port; it answers; the port is free

_BACKLOG = 2048
_TAKEN_SECONDS = 2.0  # an engine that was killed holds its port for a moment longer
_STEADY_SECONDS = 30.0  # an engine that lived that long did not die of its start
_MOST_DEATHS = 5  # shorter lives in a row, after which another start would not help


class Supervisor:
    def __init__(self, host: str, control_port: int, gateway_port: int, ready_fd: int | None, command: list[str]) -> None:
        self._host = host
        self._control_port = control_port
        self._command = command
        self._ready_fd = ready_fd  # only the first engine is awaited
        self._gateway = listen(host, gateway_port)
        self._held: socket.socket | None = None
        self._engine: subprocess.Popen[bytes] | None = None
        self._is_stopping = False

    def run(self) -> int:
        """Until an engine ends because it was asked to, or does not even start; its exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        deaths = 0
        while True:
            started = time.monotonic()
            code, was_ready = self._run_engine()
            if self._is_stopping or code == 0 or not was_ready:
                return code if code >= 0 else 128 - code
            deaths = 1 if time.monotonic() - started > _STEADY_SECONDS else deaths + 1
            if deaths >= _MOST_DEATHS:
                _say(f"The engine died {deaths} times shortly after its start; it is not started again.")
                return 1
            self._held = listen(self._host, self._control_port)
            _say(f"The engine died ({_described(code)}) and is started again.")

    def _run_engine(self) -> tuple[int, bool]:
        ours, theirs = socket.socketpair()
        descriptors = [theirs.fileno(), self._gateway.fileno()]
        command = [*self._command, "--supervised", ",".join(str(number) for number in descriptors)]
        if self._ready_fd is not None:
            command += ["--ready-fd", str(self._ready_fd)]
            descriptors.append(self._ready_fd)
        self._engine = subprocess.Popen(command, pass_fds=descriptors)
        theirs.close()
        if self._ready_fd is not None:
            os.close(self._ready_fd)
            self._ready_fd = None
        with ours:
            was_ready = self._listen_to(ours)
        return self._engine.wait(), was_ready

    def _listen_to(self, engine: socket.socket) -> bool:
        """Until it ends, and with it its side of the connection. Whether it ever answered its clients."""
        was_ready = False
        while word := engine.recv(1):
            if word == BIND:
                self._release()
                engine.sendall(GONE)
            was_ready |= word == READY
        return was_ready

    def _release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._is_stopping = True
        if self._engine is not None:
            self._engine.terminate()


def listen(host: str, port: int) -> socket.socket:
    """Raises OSError when the port stays taken."""
    deadline = time.monotonic() + _TAKEN_SECONDS
    while True:
        try:
            return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=_BACKLOG)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _described(code: int) -> str:
    return f"exit status {code}" if code >= 0 else signal.Signals(-code).name


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> int:
    """Host, control port, gateway port, a descriptor to say ready to (or `-`), and the engine's command."""
    host, control_port, gateway_port, ready_fd, *command = arguments
    try:
        supervisor = Supervisor(host, int(control_port), int(gateway_port), None if ready_fd == "-" else int(ready_fd), command)
    except OSError as error:
        _say(
            f"Error: The gateway cannot listen on {host}:{gateway_port}: {error.strerror}. Choose another port with FREEHOLD_GATEWAY_PORT."
        )
        return 1
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
