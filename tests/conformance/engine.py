"""A live engine for the tests: `freehold up` in a process of its own, and the ways to talk to it that its users have."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import grpc
import modal
from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2, api_pb2_grpc
from ports import free_port

from conformance.forks import Forks
from conformance.waiting import Running, eventually
from freehold.config import Settings
from freehold.store.keyring import Keyring

BIN = Path(sys.executable).parent
APPS = Path(__file__).parent / "apps"

_FORKED = {str(BIN / "freehold"), str(BIN / "modal")}
_STARTS_AN_ENGINE = {"up"}

# Narrow terminals wrap the lines that tests look for.
_TERMINAL = {"COLUMNS": "250", "NO_COLOR": "1", "TERM": "dumb", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Finished:
    """A command that has ended. `output` holds both streams, as a person would see them."""

    code: int
    output: str

    def succeeded(self) -> "Finished":
        assert self.code == 0, f"Exit status {self.code}:\n{self.output}"
        return self


class Engine:
    """One engine on a home of its own. It may be killed and started again: home, ports and token stay the same."""

    def __init__(self, home: Path, settings: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.control_port, self.gateway_port = free_port(), free_port()
        self.log = home.with_name(home.name + ".log")
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[str] | None = None
        self.deaths = 0  # by `kill_engine`, under the present supervisor

    @property
    def control_url(self) -> str:
        return f"http://127.0.0.1:{self.control_port}"

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What the engine and the `freehold` command run with."""
        return {
            **os.environ,
            **_TERMINAL,
            "FREEHOLD_HOME": str(self.home),
            "FREEHOLD_CONTROL_PORT": str(self.control_port),
            "FREEHOLD_GATEWAY_PORT": str(self.gateway_port),
            **{f"FREEHOLD_{name.upper()}": value for name, value in self._settings.items()},
        }

    @property
    def credentials(self) -> dict[str, str]:
        """What makes a modal client talk to this engine."""
        keyring = Keyring.open(self.home)
        return {"MODAL_SERVER_URL": self.control_url, "MODAL_TOKEN_ID": keyring.token_id, "MODAL_TOKEN_SECRET": keyring.token_secret}

    @property
    def client_environment(self) -> dict[str, str]:
        return {**os.environ, **_TERMINAL, **self.credentials}

    def client(self) -> modal.Client:
        """A modal client of its own, which knows nothing of others in this process."""
        keyring = Keyring.open(self.home)
        return modal.Client(self.control_url, api_pb2.CLIENT_TYPE_CLIENT, (keyring.token_id, keyring.token_secret)).__enter__()

    def start(self, *, within: float = 60) -> None:
        """`freehold up`, in the foreground of a process of ours; returns when the engine answers."""
        self.launch()
        self.await_answer(within=within)

    def await_answer(self, *, within: float = 60) -> None:
        eventually(self._answers, within=within, what="An engine that answers")

    def launch(self) -> None:
        """`freehold up`, without waiting for it."""
        self.deaths = 0
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [BIN / "freehold", "up"], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True
            )

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"The engine ended with status {self._process.returncode}:\n{self.log_tail()}"
        try:
            for port in (self.control_port, self.gateway_port):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            self.call("ClientHello", Empty(), timeout=1)
        except (grpc.RpcError, OSError):
            return False
        return True

    @property
    def pid(self) -> int:
        """Of the engine itself, which its supervisor starts anew each time it dies."""
        return int(self.status()["pid"])

    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        with urlopen(f"{self.gateway_url}/healthz", timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def story(self, subject: str) -> dict[str, Any]:
        """What the page of an id tells, for programs."""
        token = ":".join((self.credentials["MODAL_TOKEN_ID"], self.credentials["MODAL_TOKEN_SECRET"]))
        asked = Request(f"{self.gateway_url}/id/{subject}", headers={"Authorization": f"Bearer {token}", "Accept": "application/json"})
        with urlopen(asked, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    @property
    def spare_containers(self) -> int:
        """How many it may make ahead of need."""
        return int(self.setting("spare_containers"))

    def interrupt(self) -> None:
        """Ctrl-C."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)

    def wait_ended(self, *, within: float = 90) -> int:
        """Its exit status."""
        assert self._process is not None
        return self._process.wait(within)

    def kill_engine(self) -> None:
        """The engine dies, and its supervisor lives."""
        os.kill(self.pid, signal.SIGKILL)
        self.deaths += 1

    def kill(self) -> None:
        """What a power cut does to the processes."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def stop(self, *, within: float = 90) -> Finished:
        """`freehold down`, which kills an engine that does not end within 60 s; the process has ended when this returns."""
        finished = self.freehold("down", within=within)
        if self._process is not None:
            self._process.wait(within)
        return finished

    @contextmanager
    def restarted(self, **settings: str) -> Iterator[None]:
        """The same engine with other settings, until the end of the block. One that has these already goes on."""
        before = self._settings
        if all(str(self.setting(name)) == value for name, value in settings.items()):
            yield
            return
        self._restart({**before, **settings})
        try:
            yield
        finally:
            self._restart(before)

    def setting(self, name: str) -> Any:
        return self._settings.get(name, Settings.model_fields[name].default)

    def _restart(self, settings: Mapping[str, str]) -> None:
        self.stop().succeeded()
        self._settings = dict(settings)
        self.start()

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log_tail(self, characters: int = 4000) -> str:
        return self.log.read_text(errors="replace")[-characters:]

    def freehold(self, *args: str | Path, within: float = 90, env: Mapping[str, str] | None = None, cwd: Path = APPS) -> Finished:
        return _finish([BIN / "freehold", *args], env={**self.environment, **(env or {})}, within=within, cwd=cwd)

    def modal(self, *args: str | Path, within: float = 120, env: Mapping[str, str] | None = None) -> Finished:
        """The real CLI, to its end. `env` replaces what it would otherwise run with."""
        return _finish([BIN / "modal", *args], env=self.client_environment if env is None else env, within=within)

    def start_modal(self, *args: str | Path, cwd: Path = APPS, env: Mapping[str, str] | None = None) -> Running:
        """The real CLI, with its output read while it runs. `env` replaces what it would otherwise run with."""
        return Running(_start([BIN / "modal", *args], env=self.client_environment if env is None else env, cwd=cwd))

    def start_python(self, script: Path, *args: str) -> Running:
        """A user's script, with its output read while it runs."""
        return Running(_start([Path(sys.executable), script, *args], env=self.client_environment, cwd=script.parent))

    def python(self, script: Path, *args: str, within: float = 120) -> Finished:
        """A user's script in a process of its own."""
        return _finish([Path(sys.executable), script, *args], env=self.client_environment, within=within, cwd=script.parent)

    def call(self, method: str, request: Any, *, metadata: Mapping[str, str] | None = None, timeout: float = 20) -> Any:
        """One raw RPC with a client's token, or with exactly this metadata. Of a stream, the first message."""
        sent = self.client_metadata() if metadata is None else metadata
        with grpc.insecure_channel(f"127.0.0.1:{self.control_port}") as channel:
            stub = api_pb2_grpc.ModalClientStub(channel)
            answer = getattr(stub, method)(request, metadata=tuple(sent.items()), timeout=timeout)
            return next(answer) if isinstance(answer, Iterator) else answer

    def client_metadata(self) -> dict[str, str]:
        keyring = Keyring.open(self.home)
        return {
            "x-modal-client-version": "1.6.4",
            "x-modal-client-type": str(api_pb2.CLIENT_TYPE_CLIENT),
            "x-modal-token-id": keyring.token_id,
            "x-modal-token-secret": keyring.token_secret,
        }


def _start(command: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path) -> subprocess.Popen[str]:
    # A shell starts what runs in its background with SIGINT ignored, and children inherit that: nobody could press Ctrl-C.
    heeding = ["env", "--default-signal=INT", *command]
    return subprocess.Popen(
        heeding, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@cache
def _forks() -> Forks:
    return Forks({**os.environ, **_TERMINAL})


def _finish(command: Sequence[str | Path], *, env: Mapping[str, str], within: float, cwd: Path = APPS) -> Finished:
    words = [str(word) for word in command]
    if words[0] in _FORKED and not _STARTS_AN_ENGINE & set(words) and _forks().suits(env):
        code, output = _forks().run(words, environment=env, folder=cwd, within=within)
    else:
        code, output = _run(words, env=env, within=within, cwd=cwd)
    assert code is not None, f"`{' '.join(words)}` did not end within {within} s. The output so far:\n{output}"
    return Finished(code, output)


def _run(command: Sequence[str], *, env: Mapping[str, str], within: float, cwd: Path) -> tuple[int | None, str]:
    process = _start(command, env=env, cwd=cwd)
    try:
        output, _ = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        return None, output
    return process.returncode, output
