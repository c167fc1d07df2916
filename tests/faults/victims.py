"""Whom to hit: processes, found by the engine's own records and never by name.

A container is called as its task, or as it was before it had one: `task_of` knows whose it is. Zygotes are containers without a task.
"""

import json
import os
import signal
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from conformance.waiting import eventually

from freehold.worker.adoption import read_record
from freehold.worker.launch import tasks_folder
from freehold.worker.zygotes import pool, spares

_STATE = Path("run/runc/state")  # in the engine's home; runc's own records


@dataclass(frozen=True)
class Container:
    """A container as runc knows it. `pid` is its first process: when that ends, all of them do."""

    task_id: str
    pid: int

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP for each of its processes."""
        for pid in self.processes():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGCONT)

    def processes(self) -> list[int]:
        namespace = _namespace(self.pid)
        return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if namespace and _namespace(int(entry.name)) == namespace]

    def has_ended(self) -> bool:
        return not _namespace(self.pid)


def containers(home: Path) -> list[Container]:
    """Those that run a task, of the engine of this home."""
    tasks = task_of(home)
    return [
        replace(container, task_id=tasks.get(container.task_id, container.task_id))
        for container in _running(home)
        if not is_ahead(container.task_id) or container.task_id in tasks
    ]


def zygotes(home: Path) -> list[Container]:
    return [container for container in _running(home) if container.task_id.startswith(pool.PREFIX)]


def task_of(home: Path) -> dict[str, str]:
    """By the names of their containers, the tasks that run, as the engine's records say."""
    records = ((folder.name, read_record(folder)) for folder in tasks_folder(home).glob("*"))
    return {record.container_id: task_id for task_id, record in records if record}


def needed_zygotes(home: Path) -> set[str]:
    """Those that tasks were forked from, as the engine's records say."""
    records = (read_record(folder) for folder in tasks_folder(home).glob("*"))
    return {record.zygote.id for record in records if record and record.zygote}


def is_ahead(container_id: str) -> bool:
    """Whether it was made ahead of any task."""
    return container_id.startswith((pool.PREFIX, spares.PREFIX))


def _running(home: Path) -> list[Container]:
    """By their own names."""
    found = json.loads(eventually(lambda: _listing(home), within=60, what="An answer of runc")) or []
    return [Container(entry["id"], entry["pid"]) for entry in found if entry["status"] == "running"]


def _listing(home: Path) -> str:
    """runc fails when a container goes while it looks."""
    command = ["runc", "--root", home / _STATE, "list", "--format", "json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20).stdout


def _namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""
