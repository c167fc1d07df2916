"""Containers in which people run commands: one that is forked, and one that is started plainly, for its image has an entrypoint."""

import json
import os
from pathlib import Path

import modal

app = modal.App("execs")
image = modal.Image.debian_slim().env({"OF_THE_IMAGE": "1"})
secret = modal.Secret.from_dict({"OF_A_SECRET": "2"})


def _look() -> dict[str, object]:
    """What a command in this container is to see as this function does."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    Path("/tmp/left-by-the-function").touch()
    return {
        "container": os.environ["MODAL_TASK_ID"],
        "environment": dict(os.environ),
        "files": sorted(os.listdir("/") + os.listdir("/tmp")),
        "folder": os.getcwd(),
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in ("cgroup", "ipc", "mnt", "net", "pid", "uts")},
        "status": {name: status[name].strip() for name in ("CapBnd", "CapEff", "CapInh", "CapPrm", "Gid", "NoNewPrivs", "Seccomp", "Uid")},
    }


def look_in_json() -> str:
    return json.dumps(_look())


@app.function(image=image, secrets=[secret], scaledown_window=300, max_containers=1)
def forked() -> dict[str, object]:
    return _look()


@app.function(image=image.entrypoint(["/usr/bin/env", "OF_THE_ENTRYPOINT=3"]), secrets=[secret], scaledown_window=300, max_containers=1)
def plain() -> dict[str, object]:
    return _look()
