"""Functions that look at the container they are in. Each answer comes from a container of its own, and says what that was started from."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import meeting
import modal

VERSION = 1
LOADED = frozenset(sys.modules)  # before this app has imported anything
_PACKAGES = {
    "quiet": "WHO = 'an ordinary package'",
    "early": "import os; SEEN = os.environ.get('READ_EARLY', '')",
    "threaded": "import threading, time; threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
    "fails_early": "import os; os.environ['MODAL_TASK_ID']",
    "hangs_early": "import os, time; 'MODAL_TASK_ID' in os.environ or time.sleep(1000)",
    "hidden": "WHO = 'the image'",
}
_SITE = "/usr/local/lib/python3.11/site-packages"


def _with(*names: str) -> modal.Image:
    files = [f"""RUN printf '%s\\n' {json.dumps(_PACKAGES[name])} > {_SITE}/{name}.py""" for name in names]
    return modal.Image.debian_slim(python_version="3.11").dockerfile_commands(files).add_local_python_source("meeting")


if not modal.is_local():
    for _name in _PACKAGES:
        with suppress(ImportError):
            import_module(_name)

app = modal.App("zygotes", image=_with("quiet", "early", "hidden"))
each = {"single_use_containers": True}


def _answer(**facts: object) -> dict[str, object]:
    first = Path("/proc/1/cmdline").read_bytes().split(b"\0")
    return {"task": os.environ["MODAL_TASK_ID"], "forked": b"freehold_container.zygote" in first, **facts}


@app.function(**each)
def look() -> dict[str, object]:
    return _look()


def _look() -> dict[str, object]:
    """All that a program can see of what it is."""
    descriptors = [os.readlink(path) for number in os.listdir("/proc/self/fd") if os.path.lexists(path := f"/proc/self/fd/{number}")]
    return _answer(
        status=Path("/proc/self/status").read_text(),
        limits=Path("/proc/self/limits").read_text(),
        groups=Path("/proc/self/cgroup").read_text(),
        mounts=sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        environment=dict(os.environ),
        descriptors=sorted(target.partition(":")[0].rpartition("/")[2] for target in descriptors),
        namespaces={name: os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "net", "ipc", "uts", "cgroup")},
        python=(sys.path, sys.argv, sys.flags[:], sys.stdout.encoding, sys.orig_argv[1:2]),
        signals={number: str(signal.getsignal(number)) for number in range(1, 32) if number not in (signal.SIGUSR1, signal.SIGKILL)},
        host=socket.gethostname(),
        processes=len([name for name in os.listdir("/proc") if name.isdigit()]),
        folder=os.getcwd(),
        session=(os.getsid(0), os.getpgid(0) == os.getpid(), os.getppid()),
        mask=os.umask(0o022),
        interfaces=sorted(name for _, name in socket.if_nameindex()),
    )


@app.function(**each, volumes=meeting.volumes)
def look_together(place: str) -> dict[str, object]:
    meeting.meet(place, 2)
    return _look()


@app.function(**each, secrets=[modal.Secret.from_dict({"OF_THE_FIRST": "1", "SHARED": "a"})])
def first_environment() -> dict[str, object]:
    return _answer(environment=dict(os.environ))


@app.function(**each, secrets=[modal.Secret.from_dict({"SHARED": "b"})])
def second_environment() -> dict[str, object]:
    return _answer(environment=dict(os.environ))


@app.function(**each, secrets=[modal.Secret.from_dict({"READ_EARLY": "now"})])
def reads_early() -> dict[str, object]:
    import early

    return _answer(seen=early.SEEN)


@app.function(**each)
def reads_early_without() -> dict[str, object]:
    import early

    return _answer(seen=early.SEEN)


@app.function(**each)
def chance() -> dict[str, object]:
    return _answer(numbers=[random.random() for _ in range(3)])


@app.function(**each)
def write(name: str) -> dict[str, object]:
    folders = ("/root", "/tmp", "/etc", "/dev/shm")
    seen = [folder for folder in folders if Path(folder, name).exists()]
    for folder in folders:
        Path(folder, name).write_text("mine")
    return _answer(seen=seen)


@app.function(**each, memory=(64, 256))
def eat(mib: int) -> dict[str, object]:
    held = b"x" * (mib << 20)
    return _answer(size=len(held))


@app.function(**each)
def end(code: int = 0, number: int = 0) -> None:
    print(f"ends forked={_answer()['forked']}", flush=True)
    if number:
        os.kill(os.getpid(), number)
        time.sleep(10)
    os._exit(code)


@app.function(scaledown_window=300, max_containers=1)
def lasting(seconds: float = 0) -> dict[str, object]:
    time.sleep(seconds)
    return _answer(version=VERSION)


@app.function(scaledown_window=2)
@modal.fastapi_endpoint()
def page() -> dict[str, object]:
    return _answer(early=sorted(LOADED & {"pydantic.v1", "anyio._backends._asyncio"}))


@app.function(scaledown_window=2)
@modal.web_server(8000)
def files() -> None:
    subprocess.Popen([sys.executable, "-m", "http.server", "8000", "--directory", "/etc"])


@app.cls(scaledown_window=300, max_containers=1)
class Polite:
    @modal.method()
    def hello(self) -> dict[str, object]:
        return _answer()

    @modal.exit()
    def bye(self) -> None:
        print(f"bye of {os.environ['MODAL_TASK_ID']}", flush=True)


@app.function(**each)
def version() -> dict[str, object]:
    return _answer(version=VERSION)


def _import(name: str) -> dict[str, object]:
    import_module(name)
    return _answer(early=sorted(LOADED & {"quiet", name}))


@app.function(**each)
def quiet() -> dict[str, object]:
    return _import("quiet")


@app.function(**each, image=_with("threaded", "quiet"))
def threaded() -> dict[str, object]:
    return _import("threaded")


@app.function(**each, image=_with("fails_early", "quiet"))
def fails_early() -> dict[str, object]:
    return _import("fails_early")


@app.function(**each, image=_with("hangs_early", "quiet"))
def hangs_early() -> dict[str, object]:
    return _import("hangs_early")
