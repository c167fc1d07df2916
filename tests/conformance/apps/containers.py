"""What code in a container can see and do."""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import modal

MATERIAL = Path(__file__).parent / "material"

app = modal.App("containers")
base = modal.Image.debian_slim()


def _status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


@app.function(retries=0)
def where(seconds: float = 0, container: str = "") -> str:
    """Sleeps only in the container that is named."""
    print("where begins")
    if container == os.environ["MODAL_TASK_ID"]:
        time.sleep(seconds)
    return os.environ["MODAL_TASK_ID"]


def _default_gateway() -> str:
    routes = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    return next((socket.inet_ntoa(struct.pack("<L", int(route[2], 16))) for route in routes if route[1] == "00000000"), "")


@app.function()
def facts() -> dict[str, Any]:
    return {
        "status": _status(),
        "pids": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "gateway": _default_gateway(),
        "hostname": socket.gethostname(),
        "environment": dict(os.environ),
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "uid": os.getuid(),
    }


@app.function()
def exists(*paths: str) -> list[bool]:
    return [os.path.exists(path) for path in paths]


@app.function()
def can_connect(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError:
        return False
    return True


def _ask_the_name_server() -> bytes:
    """A question about the root of all names, whose answer needs no particular host to exist."""
    server = next(line.split()[1] for line in Path("/etc/resolv.conf").read_text().splitlines() if line.startswith("nameserver"))
    question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + b"\x00" + b"\x00\x02\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(5)
        asker.sendto(question, (server, 53))
        return asker.recv(512)[:2]


@app.function()
def name_server_answers() -> bool:
    return _ask_the_name_server() == b"\x12\x34"


@app.function(block_network=True)
def network_when_blocked() -> tuple[list[str], bool]:
    """The interfaces, and whether anything outside could be reached."""
    interfaces = sorted(os.listdir("/sys/class/net"))
    try:
        return interfaces, _ask_the_name_server() != b""
    except (OSError, StopIteration):
        return interfaces, False


@app.function(memory=(128, 256))
def use_memory(mib: int) -> int:
    block = bytearray(mib * 1024 * 1024)
    for page in range(0, len(block), 4096):
        block[page] = 1
    return len(block) // (1024 * 1024)


@app.function()
def crash(code: int) -> None:
    print("about to fall", flush=True)
    os._exit(code)


@app.function()
def die_of(signal: int) -> None:
    os.kill(os.getpid(), signal)


@app.function(cpu=(0.25, 0.5))
def cpu_share(seconds: float) -> float:
    """How much of a core a busy loop got."""
    started, used = time.monotonic(), time.process_time()
    while time.monotonic() - started < seconds:
        pass
    return (time.process_time() - used) / (time.monotonic() - started)


@app.function()
def start_threads(count: int) -> int:
    """How many threads could be started; they wait until the end."""
    done = threading.Event()
    started = 0
    try:
        for _ in range(count):
            threading.Thread(target=done.wait, daemon=True).start()
            started += 1
    except RuntimeError:
        pass
    done.set()
    return started


@app.function(image=base.add_local_file(MATERIAL / "model.json", "/models/v1/model.json"))
def model_kind() -> str:
    import json

    return json.loads(Path("/models/v1/model.json").read_text())["kind"]


@app.function(single_use_containers=True)
def leave_a_mark() -> bool:
    """Whether an earlier container's mark can be seen."""
    marks = [Path("/mark"), Path("/tmp/mark"), Path("/root/mark")]
    seen = any(mark.exists() for mark in marks)
    for mark in marks:
        mark.write_text("I was here")
    return seen


@app.function(restrict_modal_access=True)
def restricted(size: int) -> tuple[bytes, list[str]]:
    """An answer of this size, and what the container was refused when it looked at things of the workspace."""
    client = modal.Client.from_env()
    attempts = [
        lambda: modal.Function.from_name("containers", "crash").remote(1),
        lambda: modal.Secret.objects.list(client=client),
        lambda: modal.App.lookup("containers", client=client),
    ]
    return b"x" * size, [_refusal(attempt) for attempt in attempts]


@app.function(restrict_modal_access=True)
def restricted_count(to: int) -> Iterator[int]:
    yield from range(to)


def _refusal(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except modal.exception.Error as error:
        return type(error).__name__
    return ""


stubborn = base.dockerfile_commands(
    r"RUN printf '#!/bin/sh\necho the cellar is flooded\nexit 7\n' > /entry.sh && chmod +x /entry.sh",
    'ENTRYPOINT ["/entry.sh"]',
)


@app.function(image=stubborn)
def never_starts() -> None:
    pass


@app.function(image=base.env({"BREAK_THE_IMPORT": "1"}))
def broken_import() -> None:
    pass


if os.environ.get("BREAK_THE_IMPORT"):
    import a_module_that_is_nowhere  # noqa: F401
