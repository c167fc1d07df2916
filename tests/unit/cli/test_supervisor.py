"""The supervisor with a real process in the engine's place: a few lines that talk to it as the engine does."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from ports import free_port

from freehold.cli import supervisor

DEADLINE = 60
ENGINE = """#!PYTHON
import os, socket, sys, time
if sys.argv[1:] == ["down", "--sweep"]:
    print("swept", file=sys.stderr)
    sys.exit()
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


class Supervised:
    def __init__(self, folder, body, *, ready=True):
        self.lives, self.control, self.gateway = folder / "lives", free_port(), free_port()
        script = folder / "engine.py"
        says = 'supervisor.sendall(b"r")' if ready else ""
        script.write_text(
            ENGINE.replace("PYTHON", sys.executable).replace("PORT", str(self.control)).replace("READY", says).replace("BODY", body)
        )
        script.chmod(0o755)
        where = ["127.0.0.1", str(self.control), str(self.gateway), "-"]
        command = [str(script), str(self.lives)]
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

    def wait_until_up(self):
        """The engine has said that it is ready, and heeds signals as it will."""
        deadline = time.monotonic() + DEADLINE
        while not Path(f"{self.lives}.up").exists():
            assert time.monotonic() < deadline, "It did not come up."
            time.sleep(0.01)

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


SLEEP = "open(f'{path}.up', 'w').close(); time.sleep(60)"


def test_an_engine_that_dies_is_started_again(tmp_path):
    with supervised(tmp_path, SLEEP) as one:
        (first,) = one.pids(1)
        one.wait_until_up()
        time.sleep(1)  # its supervisor has heard that it is ready
        subprocess.run(["kill", "-KILL", str(first)], check=True)
        assert one.pids(2)[1] != first
        one.process.terminate()
        code, words = one.end()
    assert "died (SIGKILL) and is started again" in words
    assert code == 128 + signal.SIGTERM
    assert "swept" in words, "it had no handler yet, so it did not end in order"


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
        one.wait_until_up()
        one.process.send_signal(number)
        code, words = one.end()
    assert (code, "swept" in words) == (0, False)


HEEDLESS = "import signal; signal.signal(signal.SIGTERM, lambda *_: None); signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + SLEEP


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_whoever_asks_again_has_it_at_once(tmp_path, number):
    with supervised(tmp_path, HEEDLESS) as one:
        one.wait_until_up()
        one.process.send_signal(number)
        time.sleep(0.1)
        one.process.send_signal(number)  # the same Ctrl-C, passed on by a wrapper too
        time.sleep(supervisor._ONE_WISH + 1)
        assert one.process.poll() is None
        one.process.send_signal(number)
        code, words = one.end()
    assert (code, "swept" in words) == (128 + signal.SIGKILL, True)


def test_an_engine_that_does_not_end_is_ended(tmp_path, monkeypatch):
    patient = Path(supervisor.__file__).read_text()
    hasty = tmp_path / "supervisor.py"
    hasty.write_text(patient.replace(f"_LONGEST_STOP = {supervisor._LONGEST_STOP}", "_LONGEST_STOP = 0.5"))
    monkeypatch.setattr(supervisor, "__file__", str(hasty))
    with supervised(tmp_path, HEEDLESS) as one:
        one.wait_until_up()
        one.process.terminate()
        code, words = one.end()
    assert (code, "swept" in words) == (128 + signal.SIGKILL, True)


ORPHAN = """
if lives == 0:
    import subprocess
    child = subprocess.Popen(["sleep", "600"], stderr=subprocess.DEVNULL)
    with open(path + ".orphan", "w") as file: file.write(str(child.pid))
    os._exit(3)
"""


def test_it_reaps_what_an_engine_that_died_has_left(tmp_path):
    """Whoever else would get it may take its time, and the ends of other containers wait for that."""
    with supervised(tmp_path, ORPHAN + SLEEP) as one:
        one.pids(2)
        orphan = Path(f"/proc/{Path(f'{one.lives}.orphan').read_text()}")
        assert f"PPid:\t{one.process.pid}\n" in (orphan / "status").read_text()
        os.kill(int(orphan.name), signal.SIGKILL)
        deadline = time.monotonic() + DEADLINE
        while orphan.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not orphan.exists()


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
