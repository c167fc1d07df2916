"""The engine under measurement: one of its own, on a home that is kept so that images are built once."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from modal_proto import api_pb2, api_pb2_grpc

from freehold.cli.access import access
from freehold.cli.engine import find
from freehold.config import Settings

CHECKOUT = Path(__file__).parents[1]
HOME = CHECKOUT / "build" / "bench-home"
APPS = Path(__file__).parent / "apps"
BIN = Path(sys.executable).parent
_SWITCH = Path(__file__).parent / "switch"  # of what it notes; see `measuring.py`

_MB = 1_000_000


@dataclass(frozen=True)
class Engine:
    settings: Settings

    @property
    def gateway(self) -> tuple[str, int]:
        return self.settings.host, self.settings.gateway_port

    def deploy(self, script: str) -> float:
        """`modal deploy`, as a person types it; how many seconds that took."""
        started = time.perf_counter()
        finished = subprocess.run([BIN / "modal", "deploy", APPS / script], capture_output=True, text=True, check=False, timeout=900)
        if finished.returncode:
            sys.exit(f"`modal deploy {script}` failed:\n{finished.stdout}{finished.stderr}")
        return time.perf_counter() - started

    def call(self, method: str, request: Any) -> Any:
        """One RPC of ours, made by hand."""
        token = access(self.settings)
        metadata = (("x-modal-token-id", token["token_id"]), ("x-modal-token-secret", token["token_secret"]))
        with grpc.insecure_channel(f"{self.settings.host}:{self.settings.control_port}") as channel:
            return getattr(api_pb2_grpc.ModalClientStub(channel), method)(request, metadata=metadata, timeout=20)

    def enqueued_at(self, task_id: str) -> float:
        """When the wish for this task was recorded."""
        return float(self.call("TaskGetInfo", api_pb2.TaskGetInfoRequest(task_id=task_id)).info.enqueued_at)

    def settle(self, within: float = 30) -> None:
        """Wait until no container runs, so that none takes time from what is measured next."""
        deadline = time.monotonic() + within
        while self.call("TaskList", api_pb2.TaskListRequest()).tasks:
            if time.monotonic() > deadline:
                sys.exit(f"Containers still run {within} s after their work ended.")
            time.sleep(0.05)

    def stop_apps(self, name: str = "") -> None:
        """The app of this name, or all."""
        for app in self.call("AppList", api_pb2.AppListRequest()).apps:
            if app.state != api_pb2.APP_STATE_STOPPED and name in ("", app.name):
                self.call("AppStop", api_pb2.AppStopRequest(app_id=app.app_id))

    def resident_mb(self) -> float:
        """Memory of the engine and its supervisor, without its containers."""
        supervisor = self._supervisor()
        return sum(process.memory_info().rss for process in (supervisor, *supervisor.children())) / _MB

    def cpu_seconds(self) -> float:
        """What the engine has used so far, without its containers."""
        return sum(times.user + times.system for times in (process.cpu_times() for process in self._supervisor().children()))

    @property
    def pid(self) -> int:
        """Of the engine itself."""
        (engine,) = self._supervisor().children()
        return int(engine.pid)

    def _supervisor(self) -> psutil.Process:
        running = find(self.settings.root)
        if running is None:
            sys.exit("The engine has ended.")
        return psutil.Process(running.pid)


@contextmanager
def running_engine() -> Iterator[Engine]:
    """`freehold up` … `freehold down`. In between, modal clients started from here come to this engine."""
    environment = {"FREEHOLD_HOME": HOME, "FREEHOLD_CONTROL_PORT": free_port(), "FREEHOLD_GATEWAY_PORT": free_port()}
    os.environ.update({name: str(value) for name, value in environment.items()})
    switched = {**os.environ, "PYTHONPATH": str(_SWITCH)}
    subprocess.run([BIN / "freehold", "up", "--detach"], check=True, timeout=120, stdout=subprocess.DEVNULL, env=switched)
    try:
        settings = Settings.load()
        os.environ.update({f"MODAL_{name.upper()}": value for name, value in access(settings).items()})
        engine = Engine(settings)
        engine.stop_apps()
        yield engine
    finally:
        subprocess.run([BIN / "freehold", "down"], check=True, timeout=120, stdout=subprocess.DEVNULL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
