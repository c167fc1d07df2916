"""What `freehold up` becomes: starts the engine, and starts it again when it dies.

It is also the parent of what an engine that died leaves running, and reaps that: until somebody does, the ends of other containers wait
(a pid namespace goes only after everyone in it).

Clients that wait for a result try to connect again for less than a second. So the supervisor keeps the ports answering while there is no
engine: the gateway's listener belongs to it and every engine inherits that; the control plane's port, whose server cannot inherit one, it
holds from the death of an engine until the next one asks for it. Who connects meanwhile waits instead of being refused.

Run by its path with the standard library alone, so that it costs a few megabytes.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import FrameType

BIND, READY, GONE = b"b", b"r", b"g"  # the engine is about to bind its port; it answers; the port is free

_BACKLOG = 2048
_TAKEN_SECONDS = 2.0  # an engine that was killed holds its port for a moment longer
_STEADY_SECONDS = 30.0  # an engine that lived that long did not die of its start
_MOST_DEATHS = 5  # shorter lives in a row, after which another start would not help
_LONGEST_STOP = 55.0  # seconds; an engine ends itself after 50, and `freehold down` waits for 60
_PR_SET_CHILD_SUBREAPER = 36
_BEFORE_REAPING = 0.5  # seconds in which the next engine, which is not its parent, can read how a process has ended
_ONE_WISH = 1.0  # seconds in which a second signal is the same Ctrl-C: terminals and wrappers (`make`, `uv run`) may both pass it on


class Supervisor:
    def __init__(self, host: str, control_port: int, gateway_port: int, ready_fd: int | None, command: list[str]) -> None:
        self._host = host
        self._control_port = control_port
        self._command = command
        self._ready_fd = ready_fd  # only the first engine is awaited
        self._gateway = listen(host, gateway_port)
        self._held: socket.socket | None = None
        self._engine: subprocess.Popen[bytes] | None = None
        self._asked_at: float | None = None  # to end

    def run(self) -> int:
        """Until an engine ends because it was asked to, or does not even start; its exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGALRM, self._kill)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        threading.Thread(target=self._reap_orphans, daemon=True).start()
        deaths = 0
        while True:
            started = time.monotonic()
            code, was_ready = self._run_engine()
            if self._asked_at is not None and code != 0:
                self._sweep()
            if self._asked_at is not None or code == 0 or not was_ready:
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
        if self._asked_at is not None:  # while there was no engine that could be told
            self._engine.terminate()
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
        """Once: the engine ends in order. Twice: at once."""
        del frame
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            signal.setitimer(signal.ITIMER_REAL, _LONGEST_STOP)
            if number == signal.SIGINT:
                _say("The engine ends. Ctrl-C again ends it at once.")
            if self._engine is not None:
                self._engine.terminate()
        elif now - self._asked_at > _ONE_WISH:
            self._kill()

    def _kill(self, *_: object) -> None:
        if self._engine is not None:
            self._engine.kill()

    def _sweep(self) -> None:
        """An engine that ends in order leaves nothing on the machine; one that did not leaves containers."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        _say("The engine did not end in order; what it left is removed.")
        subprocess.run([self._command[0], "down", "--sweep"], check=False)

    def _reap_orphans(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the main thread
        while True:
            _ended_child()
            time.sleep(_BEFORE_REAPING)
            while (ended := _ended_child(os.WNOHANG)) and (self._engine is None or ended != self._engine.pid):
                with suppress(ChildProcessError):
                    os.waitpid(ended, os.WNOHANG)


def _ended_child(flags: int = 0) -> int | None:
    """One that has ended, which stays as it is; without flags, the next that does. None if there is none."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | flags)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


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
