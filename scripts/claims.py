"""Prints what the same iris endpoint costs in both ways, on this machine: `examples/traditional` beside Freehold.

Every figure is counted in the files or measured here. What this machine has not (a registry, a cluster) is said to be left out.
"""

import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, closing, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import demo
import psutil
import yaml

from freehold.cli import engine
from freehold.config import Settings

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
TRADITIONAL = EXAMPLES / "traditional"
OURS = EXAMPLES / "tutorial" / "app_modal.py"
MODEL = "iris_model.pkl"
_APP = "claims"  # what is deployed here under other names stays as it is
_CODE = {".py", ".txt", ".yaml", ""}  # Dockerfile and .dockerignore have no suffix
_START_SECONDS = 120.0
_WARM_REQUESTS = 200
_SETTLE_SECONDS = 5.0
_IDLE_SECONDS = 20.0


@dataclass(frozen=True)
class Way:
    """What was counted and measured of one way; seconds and bytes."""

    files: Sequence[str]
    lines: int
    first_deploy: float
    next_deploy: float
    cold_start: float
    warm: float  # the median of many
    idle_bytes: int
    idle_processes: int
    idle_cpu: float  # seconds in an hour
    floor: int  # replicas, or containers, that stay when nobody asks


def main() -> None:
    settings = Settings.load()
    demo.run(sys.executable, str(OURS.with_name("train.py")))
    print("\n── the traditional way: install, start, ask", flush=True)
    traditional = measure_traditional()
    try:
        with demo.an_engine(settings, {}):
            ours = measure_ours(settings)
    except demo.DemoFailed as error:
        sys.exit(f"\nThis could not be measured: {error}")
    print()
    print(table(traditional, ours))


def table(traditional: Way, ours: Way) -> str:
    """In Markdown; a figure is here only if it is in one of these."""
    rows = [
        ("Files", f"{len(traditional.files)}: {', '.join(traditional.files)}", f"{len(ours.files)}: {', '.join(ours.files)}"),
        ("Lines, without blank ones and comments", str(traditional.lines), str(ours.lines)),
        ("First deploy, its packages installed anew", f"{_seconds(traditional.first_deploy)}¹", _seconds(ours.first_deploy)),
        ("Next deploy", f"{_seconds(traditional.next_deploy)}¹", _seconds(ours.next_deploy)),
        ("Cold start, to the first answer", _seconds(traditional.cold_start), _seconds(ours.cold_start)),
        ("A request after that, median", _seconds(traditional.warm), _seconds(ours.warm)),
        ("What stays when nobody asks", f"{traditional.floor} replicas", f"{ours.floor} containers"),
        ("Memory of that", f"{_mib(traditional.idle_bytes)}², and the cluster's", f"{_mib(ours.idle_bytes)}³, with all other apps"),
        ("CPU of that in an hour", f"{traditional.idle_cpu:.0f} s²", f"{ours.idle_cpu:.0f} s³"),
    ]
    body = "\n".join(f"| {what} | {theirs} | {mine} |" for what, theirs, mine in rows)
    machine = f"{os.cpu_count()} CPUs, {psutil.virtual_memory().total / 1024**3:.0f} GiB, {platform.system()} {platform.release()}"
    return f"""| | Traditional (examples/traditional) | Freehold ({OURS.relative_to(ROOT)}) |
|---|---|---|
{body}

Measured on this machine ({machine}).
¹ Packages installed into an empty environment (next: found there), and one replica started until it answers. Building layers, pushing them
  to a registry and the cluster's rolling update come on top: there is none here to measure.
² {traditional.floor} times what one uvicorn process takes here.
³ The engine with all that it keeps ready, {ours.idle_processes} processes: it is one for all apps."""


def count_lines(paths: Sequence[Path]) -> int:
    """Those that say something: no blank ones, no comments."""
    lines = [line.strip() for path in paths for line in path.read_text().splitlines()]
    return sum(bool(line) and not line.startswith("#") for line in lines)


def files_of(folder: Path) -> list[Path]:
    """What a person writes and keeps there to deploy."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in _CODE and path.name != "README.md")


def replicas_of(folder: Path) -> int:
    """How many the manifests keep when there is nothing to do."""
    manifests = [yaml.safe_load(path.read_text()) for path in (folder / "k8s").glob("*.yaml")]
    by_kind = {manifest["kind"]: manifest["spec"] for manifest in manifests}
    return int(by_kind["HorizontalPodAutoscaler"]["minReplicas"])


# The traditional way.


def measure_traditional() -> Way:
    files = files_of(TRADITIONAL)
    with tempfile.TemporaryDirectory(prefix="claims-") as folder:
        python = Path(folder) / "venv" / "bin" / "python"
        install, first_start, _ = _timed_traditional(folder, python)
        reinstall, next_start, warm = _timed_traditional(folder, python)
        replicas = replicas_of(TRADITIONAL)
        with serving(python, folder) as (process, url):
            ask(url)
            memory, cpu = idle([psutil.Process(process.pid)])
    return Way(
        files=[str(path.relative_to(TRADITIONAL)) for path in files],
        lines=count_lines(files),
        first_deploy=install + first_start,
        next_deploy=reinstall + next_start,
        cold_start=next_start,
        warm=warm,
        idle_bytes=replicas * memory,
        idle_processes=replicas,
        idle_cpu=replicas * cpu,
        floor=replicas,
    )


def _timed_traditional(folder: str, python: Path) -> tuple[float, float, float]:
    """Seconds to install, to the first answer, and of a request after that."""
    install = seconds_of(lambda: installed(python))
    began = time.perf_counter()
    with serving(python, folder) as (_, url):
        ask(url)
        return install, time.perf_counter() - began, median_of(lambda: ask(url))


def installed(python: Path) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    if not python.exists():
        demo.run(uv, "venv", "--quiet", "--python", sys.executable, str(python.parents[1]))
    demo.run(uv, "pip", "install", "--quiet", "--python", str(python), "--requirement", str(TRADITIONAL / "requirements.txt"))


@contextmanager
def serving(python: Path, folder: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The traditional application, on a free port."""
    shutil.copy(TRADITIONAL / "app.py", folder)
    shutil.copy(OURS.with_name(MODEL), folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(python), "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command, cwd=folder, env=os.environ | {"LOG_LEVEL": "WARNING"})
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(_START_SECONDS)


# Freehold's.


def measure_ours(settings: Settings) -> Way:
    with tempfile.TemporaryDirectory(prefix="claims-") as folder, chdir(folder):
        shutil.copy(OURS.with_name(MODEL), folder)
        Path(folder, OURS.name).write_text(with_packages_anew(OURS.read_text()))
        first = seconds_of(deploy)
    with chdir(OURS.parent):
        began = time.perf_counter()
        output = deploy()
        again = time.perf_counter() - began
    url = demo.reachable(demo.web_url(output), settings)
    ask(url)  # what has never run here is loaded from the disk first
    stop_containers()
    cold = seconds_of(lambda: ask(url))
    warm = median_of(lambda: ask(url))
    stop_containers()
    everything = processes_of(settings)
    memory, cpu = idle(everything)
    demo.run(str(demo.BIN / "freehold"), "app", "stop", "--yes", _APP)
    return Way(
        files=[OURS.name],
        lines=count_lines([OURS]),
        first_deploy=first,
        next_deploy=again,
        cold_start=cold,
        warm=warm,
        idle_bytes=memory,
        idle_processes=len(everything),
        idle_cpu=cpu,
        floor=len(containers()),
    )


def deploy() -> str:
    return demo.run(str(demo.BIN / "freehold"), "deploy", "--name", _APP, OURS.name)


def with_packages_anew(app: str) -> str:
    """The same app; its packages are installed again though there is a layer with them."""
    text, count = re.subn(r"\.pip_install\(([^)]*)\)", r".pip_install(\1, force_build=True)", app)
    if count != 1:
        msg = f"{OURS} does not install its packages as expected."
        raise demo.DemoFailed(msg)
    return text


def containers() -> list[str]:
    listed = demo.run(str(demo.BIN / "freehold"), "container", "list", "--json")
    return [row["container_id"] for row in json.loads(listed) if row["app_name"] == _APP]


def stop_containers() -> None:
    """As they stop by themselves a minute after the last request."""
    for container_id in containers():
        demo.run(str(demo.BIN / "freehold"), "container", "stop", "--yes", container_id)
    deadline = time.monotonic() + _START_SECONDS
    while containers():
        if time.monotonic() > deadline:
            msg = "the containers did not stop."
            raise demo.DemoFailed(msg)


def processes_of(settings: Settings) -> list[psutil.Process]:
    """The supervisor and all below it: engine, and what that keeps ready."""
    found = engine.find(settings.root)
    if found is None:
        msg = "the engine ended."
        raise demo.DemoFailed(msg)
    supervisor = psutil.Process(found.pid)
    return [supervisor, *supervisor.children(recursive=True)]


# Both.


def ask(url: str) -> None:
    """A prediction, asked for again while nobody listens yet."""
    deadline = time.monotonic() + _START_SECONDS
    while not _answered(url):
        if time.monotonic() > deadline:
            msg = f"{url} did not answer within {_START_SECONDS:.0f} s."
            raise demo.DemoFailed(msg)
        time.sleep(0.005)


def _answered(url: str) -> bool:
    address = urlsplit(f"{url}/predict")
    connection = HTTPConnection(address.hostname or "", address.port, timeout=_START_SECONDS)
    with closing(connection), suppress(ConnectionError):
        connection.request("POST", address.path, json.dumps(demo.QUESTION), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        if response.status != HTTPStatus.OK or json.loads(answer) != demo.ANSWER:
            msg = f"{url} answered {response.status}: {answer.decode(errors='replace')}."
            raise demo.DemoFailed(msg)
        return True
    return False


def seconds_of(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def median_of(step: Callable[[], object]) -> float:
    return statistics.median(seconds_of(step) for _ in range(_WARM_REQUESTS))


def idle(processes: Sequence[psutil.Process]) -> tuple[int, float]:
    """Bytes that they alone fill (shared pages by share), and seconds of CPU that they take in an hour without work."""
    time.sleep(_SETTLE_SECONDS)
    before = sum(map(_cpu, processes))
    time.sleep(_IDLE_SECONDS)
    spent = sum(map(_cpu, processes)) - before
    return sum(map(_memory, processes)), max(spent, 0.0) * 3600 / _IDLE_SECONDS


def _cpu(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _memory(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_full_info().pss)
    return 0


def _seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.1f} s"


def _mib(size: int) -> str:
    return f"{size / 1024**2:.0f} MiB"


if __name__ == "__main__":
    main()
