"""The iris endpoint beside LitServe, BentoML and Ray Serve with the same model. `make bench-peers` installs their newest versions.

Each has a virtual environment of its own under build/peers. One runs at a time, in turn with ours round by round: idle daemons of
another would take from both.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import modal
import web
from engine import CHECKOUT, Engine, free_port
from figures import Figure
from http_load import Plan, load, post
from model import MODEL

PEERS = CHECKOUT / "build" / "peers"
_SERVERS = Path(__file__).parent / "peers"
_FLOWER = [5.1, 3.5, 1.4, 0.2]
_MODEL_PACKAGES = ("scikit-learn==1.9.1", "joblib==1.6.0", "numpy==2.4.6", "httptools", "uvloop")
_SPACE_GB = 4
_CONNECTIONS, _ROUNDS = 32, 4
_START_SECONDS = 90


@dataclass(frozen=True)
class Peer:
    """Another serving framework. `goal` is how many times its requests per second ours should reach."""

    name: str
    package: str
    title: str
    goal: float
    path: str = "/"
    is_installed_module: bool = False  # started by its own command rather than by a script of ours

    @property
    def python(self) -> Path:
        return PEERS / self.name / "bin" / "python"

    def command(self, port: int) -> Sequence[str]:
        if self.is_installed_module:
            return [str(self.python), "-m", self.name, "serve", f"{self.name}_server:Flower", "--host", "127.0.0.1", "--port", str(port)]
        return [str(self.python), str(_SERVERS / f"{self.name}_server.py"), str(port), str(MODEL)]


PEERS_TO_BEAT = (
    Peer("litserve", "litserve", "LitServe", goal=1.8),
    Peer("bentoml", "bentoml", "BentoML", goal=3, path="/predict", is_installed_module=True),
    Peer("ray", "ray[serve]", "Ray Serve", goal=8),
)
_KEYS = {"litserve": "litserve", "bentoml": "bentoml", "ray": "ray_serve"}


def install() -> None:
    """The newest of each, one after the other; what is there already is brought up to date."""
    if shutil.disk_usage(CHECKOUT).free < _SPACE_GB * 1_000_000_000:
        sys.exit(f"The three take {_SPACE_GB} GB of disk with their caches, and there is less here.")
    uv = CHECKOUT / ".venv" / "bin" / "uv"
    for peer in PEERS_TO_BEAT:
        print(f"Installing {peer.title} …", file=sys.stderr, flush=True)
        if not peer.python.exists():
            subprocess.run([uv, "venv", "-q", "--python", sys.executable, peer.python.parents[1]], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--upgrade", "--python", peer.python, peer.package, *_MODEL_PACKAGES], check=True)


def installed() -> bool:
    return any(peer.python.exists() for peer in PEERS_TO_BEAT)


def versions() -> str:
    code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
    told = [
        f"{peer.name} {subprocess.run([peer.python, '-c', code, peer.name], capture_output=True, text=True, check=True).stdout.strip()}"
        for peer in PEERS_TO_BEAT
        if peer.python.exists()
    ]
    return ", ".join(told)


def figures(engine: Engine) -> dict[str, Figure]:
    measured: dict[str, Figure] = {}
    ours = _our_target(engine)
    for peer in PEERS_TO_BEAT:
        if peer.python.exists():
            measured |= _beside(peer, ours, _KEYS[peer.name])
    return measured


def _our_target(engine: Engine) -> web.Target:
    url = modal.Cls.from_name("bench-flower", "Flower")().predict.get_web_url()
    host = url.removeprefix("http://").rstrip("/")
    return engine.gateway, post(host, json.dumps({"features": _FLOWER}))


def _beside(peer: Peer, ours: web.Target, key: str) -> dict[str, Figure]:
    with served(peer) as address:
        theirs = address, post("localhost", json.dumps({"features": _FLOWER}), peer.path)
        await_answer(theirs)
        mine, other = web.alternate([ours, theirs], _CONNECTIONS, _ROUNDS)
    return {
        f"iris_32_per_s_beside_{key}": Figure(mine.per_second, "requests/s", other.per_second, peer.title),
        f"iris_ratio_to_{key}": Figure(mine.per_second / other.per_second, "ratio", peer.goal, "goal"),
        f"iris_32_p99_ms_beside_{key}": Figure(mine.p99, "ms", other.p99, peer.title),
    }


@contextmanager
def served(peer: Peer) -> Iterator[web.Address]:
    """The iris endpoint of another, until the block ends."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        quiet = {"BENTOML_DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0", "BENTOML_HOME": folder, "MODEL": str(MODEL)}
        environment = {**os.environ, **quiet}
        with web.serving(peer.command(port), port, cwd=_SERVERS, env=environment, stdout=log, stderr=log) as address:
            yield address


def await_answer(target: web.Target) -> None:
    """It may listen long before its model is there."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        seen = load(Plan(address=target[0], request=target[1], connections=1, seconds=0.3))
        if seen.count and not seen.failed:
            return
        time.sleep(0.5)
    msg = f"{target[0]} does not answer as it should."
    raise RuntimeError(msg)


if __name__ == "__main__":
    install()
    print(versions())
