"""Functions that share a volume, and a class that loads a model from it."""

import os
import subprocess
import sys
from pathlib import Path

import modal

app = modal.App("volumes", image=modal.Image.debian_slim(python_version="3.11"))
shared = modal.Volume.from_name("conformance", create_if_missing=True)
each = {"single_use_containers": True}


@app.function(volumes={"/data": shared})
def write(name: str, text: str) -> str:
    path = Path("/data", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return os.environ["MODAL_TASK_ID"]


@app.function(volumes={"/somewhere/else": shared})
def read(name: str) -> tuple[str, str]:
    return os.environ["MODAL_TASK_ID"], Path("/somewhere/else", name).read_text()


@app.function(volumes={"/data": shared})
def commit_and_reload(name: str, text: str) -> list[str]:
    """With a file of the volume open, which Modal would not reload."""
    with Path("/data", name).open("w") as file:
        file.write(text)
        file.flush()
        shared.commit()
        shared.reload()
    return [entry.path for entry in shared.listdir("/")]


@app.function(volumes={"/data": shared.with_mount_options(read_only=True)})
def try_to_write(name: str) -> str:
    try:
        Path("/data", name).write_text("x")
    except OSError as error:
        return os.strerror(error.errno or 0)
    return "written"


@app.function(volumes={"/part": shared.with_mount_options(sub_path="users/ada")})
def write_part(name: str, text: str) -> list[str]:
    Path("/part", name).write_text(text)
    return sorted(os.listdir("/part"))


@app.function(volumes={"/part": shared.with_mount_options(sub_path="led/astray")})
def read_part() -> list[str]:
    return sorted(os.listdir("/part"))


@app.function(volumes={"/data": shared})
def plant(script: str) -> None:
    """What somebody who has root in a container does with a volume."""
    subprocess.run(["sh", "-c", script], cwd="/data", check=True)


@app.function(volumes={"/data": shared}, **each)
def look() -> dict[str, object]:
    first = Path("/proc/1/cmdline").read_bytes().split(b"\0")
    mount = next(line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] == "/data")
    return {
        "task": os.environ["MODAL_TASK_ID"],
        "forked": b"freehold_container.zygote" in first,
        "options": sorted(mount[5].split(",")),
        "files": sorted(os.listdir("/data")),
    }


@app.function(volumes={"/data": shared}, restrict_modal_access=True, **each)
def guarded(name: str) -> None:
    Path("/data", name).write_text("by one that may ask for little")
    shared.commit()


@app.function()
def list_by_id(volume_id: str) -> list[str]:
    return [entry.path for entry in modal.Volume.from_id(volume_id).listdir("/", recursive=True)]


@app.cls(volumes={"/models": shared})
class Model:
    @modal.enter()
    def begin(self) -> None:
        self.read()

    def read(self) -> None:
        path = Path("/models/model.txt")
        self.model = path.read_text() if path.exists() else ""

    @modal.method()
    def ask(self) -> tuple[str, str]:
        return os.environ["MODAL_TASK_ID"], self.model

    @modal.method()
    def refresh(self) -> None:
        shared.reload()
        self.read()


@app.cls(volumes={"/models": shared}, enable_memory_snapshot=True, **each)
class Snapshotted:
    @modal.enter(snap=True)
    def load(self) -> None:
        shared.reload()
        self.model = Path("/models/snapshot.txt").read_text()

    @modal.method()
    def ask(self) -> dict[str, object]:
        return {
            "of_snapshot": "freehold_container.snapshot" in sys.modules,
            "loaded": self.model,
            "now": Path("/models/snapshot.txt").read_text(),
        }
