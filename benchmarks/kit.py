"""ModalKit: what it adds to a FastAPI app, and its model services beside those of others."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import modal
import web
from engine import APPS, BIN, CHECKOUT, Engine, free_port
from figures import Figure
from http_load import Plan, begun, post
from model import MODEL
from peers import PEERS, PEERS_TO_BEAT, await_answer, served

_FLOWER = json.dumps({"features": [5.1, 3.5, 1.4, 0.2]})
_NUMBER = json.dumps({"value": 2.0})
_NUMBERS = json.dumps({"values": [2.0]})
_NUMBER_TO_SCALE = json.dumps({"value": 5})
_ROUNDS = 4
_RATE = 100  # requests a second
_NEXT_VERSION = "MODALKIT_APP_SETTINGS__BUILD_CONFIG__ENV"
_DISTURBED_SECONDS = 20
_ANSWERS_SEEN = 3  # the first version with both factors, the second with the newer one
_WAIT_MS = 5  # of every server's batches: of 1, 2, 5, 10 and 20 the best for LitServe and BentoML at 64 connections
_BATCH_MS = 5 + 0.1 * 64  # the cost of a full batch
_IMPORTS = 7


def prepare() -> None:
    """The model file where the app's YAML says it is."""
    folder = CHECKOUT / "build" / "bench_models"
    folder.mkdir(exist_ok=True)
    shutil.copy(MODEL, folder)


def in_process() -> dict[str, Figure]:
    """The same route in this machine's processes, without an engine."""
    environment = {**os.environ, "MODEL": str(MODEL), "MODALKIT_CONFIG": str(APPS / "kit_flower" / "modalkit.yaml")}
    environment["MODALKIT_MODEL_SETTINGS__LOCAL_MODEL_REPOSITORY_FOLDER"] = str(MODEL.parent)
    request = post("localhost", _FLOWER, "/predict_sync")
    with _uvicorn("kit_by_hand:by_modalkit", environment) as ours, _uvicorn("kit_by_hand:by_hand", environment) as theirs:
        mine, other = web.alternate([(ours, request), (theirs, request)], 32, _ROUNDS)
    return {
        "modalkit_sync_per_s": Figure(mine.per_second, "requests/s", other.per_second, "FastAPI by hand"),
        "modalkit_sync_ratio_to_fastapi": Figure(mine.per_second / other.per_second, "ratio", 0.85, "goal"),
        "modalkit_import_ms": Figure(_import_ms(), "ms", 150, "goal"),
    }


def iris(engine: Engine) -> dict[str, Figure]:
    """The iris endpoint beside LitServe's."""
    peer = next(peer for peer in PEERS_TO_BEAT if peer.name == "litserve")
    ours = _target(engine, "bench-kit-flower", _FLOWER)
    if not peer.python.exists():
        (alone,) = web.alternate([ours], 32, _ROUNDS)
        return {"modalkit_iris_32_per_s": Figure(alone.per_second, "requests/s")}
    with served(peer) as address:
        mine, other = web.alternate([ours, (address, post("localhost", _FLOWER, peer.path))], 32, _ROUNDS)
    return {
        "modalkit_iris_32_per_s": Figure(mine.per_second, "requests/s", other.per_second, peer.title),
        "modalkit_iris_ratio_to_litserve": Figure(mine.per_second / other.per_second, "ratio", 1.0, "goal"),
        "modalkit_iris_32_p99_ms": Figure(mine.p99, "ms", other.p99, peer.title),
    }


def batched(engine: Engine) -> dict[str, Figure]:
    """A model that gains by batches, at 64 connections."""
    ours = _target(engine, "bench-kit-batched", _NUMBER)
    (alone,) = web.alternate([ours], 64, 1)
    measured = {
        "modalkit_batched_64_per_s": Figure(alone.per_second, "requests/s"),
        "modalkit_batched_64_p99_ms": Figure(alone.p99, "ms", _WAIT_MS + 2 * _BATCH_MS, "goal"),
    }
    for name, body in (("litserve", _NUMBER), ("bentoml", _NUMBERS)):
        if (PEERS / name / "bin" / "python").exists():
            with _batched_peer(name) as address:
                theirs = address, post("localhost", body, "/predict")
                await_answer(theirs)
                mine, other = web.alternate([ours, theirs], 64, _ROUNDS)
            measured[f"modalkit_batched_64_per_s_beside_{name}"] = Figure(mine.per_second, "requests/s", other.per_second, name)
            measured[f"modalkit_batched_ratio_to_{name}"] = Figure(mine.per_second / other.per_second, "ratio", 2.0, "goal")
            measured["modalkit_batched_64_p99_ms"] = Figure(mine.p99, "ms", _WAIT_MS + 2 * _BATCH_MS, "goal")
    return measured


def disturbed(engine: Engine) -> dict[str, Figure]:
    """Requests on time at a fixed rate; meanwhile devices break, newer model files arrive, and the next version is deployed."""
    target = _target(engine, "bench-kit-disturbed", _NUMBER_TO_SCALE)
    plan = Plan(address=target[0], request=target[1], connections=64, seconds=_DISTURBED_SECONDS, rate=_RATE)
    with begun(plan) as outcome:
        time.sleep(_DISTURBED_SECONDS / 4)
        put_factor(3)
        time.sleep(_DISTURBED_SECONDS / 4)
        os.environ[_NEXT_VERSION] = json.dumps({"VERSION": "2"})
        engine.deploy("kit_disturbed/app.py")
        load = outcome()
    del os.environ[_NEXT_VERSION]
    if len(load.bodies) < _ANSWERS_SEEN:
        print(f"Not every version and factor has answered: {load.bodies}", file=sys.stderr)
    return {
        "modalkit_disturbed_failed_requests": Figure(load.failed, "requests", load.count, "answered"),
        "modalkit_disturbed_p50_ms": Figure(load.p50, "ms"),
        "modalkit_disturbed_p99_ms": Figure(load.p99, "ms"),
    }


def put_factor(factor: int) -> None:
    """A newer model file on the volume, as `modal volume put` brings it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "factor.txt"
        file.write_text(str(factor))
        modal.Volume.objects.create("bench-kit-models", allow_existing=True)
        subprocess.run([BIN / "modal", "volume", "put", "--force", "bench-kit-models", file, "factor.txt"], check=True, capture_output=True)


def _target(engine: Engine, app: str, body: str) -> web.Target:
    url = modal.Function.from_name(app, "web").get_web_url() or ""
    target = engine.gateway, post(url.removeprefix("http://").rstrip("/"), body, "/predict_sync")
    await_answer(target)
    return target


@contextmanager
def _uvicorn(factory: str, environment: dict[str, str]) -> Iterator[web.Address]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", factory, "--factory", "--app-dir", str(APPS), "--port", str(port), "--log-level", "error"]
    with web.serving([*command, "--no-access-log", "--loop", "uvloop", "--http", "httptools"], port, env=environment) as address:
        yield address


@contextmanager
def _batched_peer(name: str) -> Iterator[web.Address]:
    port, python = free_port(), str(PEERS / name / "bin" / "python")
    folder = Path(__file__).parent / "peers"
    if name == "bentoml":
        command = [python, "-m", "bentoml", "serve", "bentoml_batched:Doubling", "--host", "127.0.0.1", "--port", str(port)]
    else:
        command = [python, str(folder / "litserve_batched.py"), str(port), str(_WAIT_MS)]
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "1", "LATENCY_MS": "1000"}
    with web.serving(command, port, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as address:
        yield address


def _import_ms() -> float:
    """What importing ModalKit takes beyond importing `modal`: the difference of the best of several."""
    return 1000 * (_seconds("import modalkit.modal_service") - _seconds("import modal"))


def _seconds(code: str) -> float:
    timed = f"import time; began = time.perf_counter(); {code}; print(time.perf_counter() - began)"
    seen = [
        float(subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout) for _ in range(_IMPORTS)
    ]
    return statistics.median(seen)
