"""The supervisor with a real process in the engine's place: a few lines that talk to it as the engine does."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from freehold.cli import supervisor

DEADLINE = 20
ENGINE = """
import os, socket, sys, time
path, words = sys.argv[1], sys.argv[sys.argv.index("--supervised") + 1]
talk, gateway = (int(part) for part in words.split(","))
supervisor, gateway = socket.socket(fileno=talk), socket.socket(fileno=gateway)
lives = len(open(path).readlines()) if os.path.exists(path) else 0
supervisor.sendall(b"b"); supervisor.recv(1)
control = socket.create_server(("127.0.0.1", PORT))
with open(path, "a") as file: file.write(f"{os.getpid()}\\n")
READY
BODY
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Supervised:
    def __init__(self, folder, body, *, ready=True):
        self.lives, self.control, self.gateway = folder / "lives", free_port(), free_port()
        script = folder / "engine.py"
        says = 'supervisor.sendall(b"r")' if ready else ""
        script.write_text(ENGINE.replace("PORT", str(self.control)).replace("READY", says).replace("BODY", body))
        where = ["127.0.0.1", str(self.control), str(self.gateway), "-"]
        command = [sys.executable, str(script), str(self.lives)]
        path = str(Path(supervisor.__file__))
        self.process = subprocess.Popen(
            ["env", "--default-signal=INT", sys.executable, "-I", "-S", path, *where, *command], stderr=subprocess.PIPE, text=True
        )

    def pids(self, count):
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            pids = [int(line) for line in self.lives.read_text().splitlines()] if self.lives.exists() else []
            if len(pids) >= count:
                return pids
            time.sleep(0.01)
        msg = f"There were never {count} engines."
        raise AssertionError(msg)

    def end(self):
        _, words = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, words


@contextmanager
def supervised(folder, body, **options):
    one = Supervised(folder, body, **options)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.process.terminate()
            one.end()
        one.process.stderr.close()


SLEEP = "time.sleep(60)"


def test_an_engine_that_dies_is_started_again(tmp_path):
    with supervised(tmp_path, SLEEP) as one:
        (first,) = one.pids(1)
        time.sleep(0.2)  # it has said that it is ready
        subprocess.run(["kill", "-KILL", str(first)], check=True)
        assert one.pids(2)[1] != first
        one.process.terminate()
        code, words = one.end()
    assert "died (SIGKILL) and is started again" in words
    assert code == 128 + signal.SIGTERM


def test_whoever_connects_while_there_is_no_engine_waits(tmp_path):
    """The first one dies at once, and the next takes a while to come."""
    with supervised(tmp_path, f"if lives == 0: time.sleep(0.2); os._exit(3)\n{SLEEP}") as one:
        one.pids(1)
        for _ in range(15):
            for port in (one.control, one.gateway):
                _connect(port)
            time.sleep(0.05)
        assert len(one.pids(2)) == 2


def _connect(port):
    """Refused at most for the moment in which the port changes hands."""
    for _ in range(20):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return
    msg = f"Port {port} refuses connections."
    raise AssertionError(msg)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_passes_on_that_it_should_end(tmp_path, number):
    body = "import signal; signal.signal(signal.SIGTERM, lambda *_: os._exit(0)); signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + SLEEP
    with supervised(tmp_path, body) as one:
        one.pids(1)
        time.sleep(0.3)
        one.process.send_signal(number)
        assert one.end()[0] == 0


def test_an_engine_that_does_not_start_is_not_started_again(tmp_path):
    with supervised(tmp_path, "sys.exit(4)", ready=False) as one:
        assert one.end()[0] == 4
        assert len(one.pids(1)) == 1


def test_an_engine_that_keeps_dying_is_given_up(tmp_path):
    with supervised(tmp_path, "os._exit(9)") as one:
        code, words = one.end()
        assert (code, len(one.pids(1))) == (1, 5)
    assert "not started again" in words


def test_a_gateway_port_that_stays_taken_is_said_in_words(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert supervisor.main(["127.0.0.1", str(free_port()), port, "-", "true"]) == 1
    assert "FREEHOLD_GATEWAY_PORT" in capsys.readouterr().err
