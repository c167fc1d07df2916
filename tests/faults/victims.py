"""Whom to hit: processes, found by the engine's own records and never by name."""

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

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
    """Those that run, of the engine of this home."""
    listing = subprocess.run(
        ["runc", "--root", home / _STATE, "list", "--format", "json"], capture_output=True, text=True, check=True, timeout=20
    )
    found = json.loads(listing.stdout) or []
    return [Container(entry["id"], entry["pid"]) for entry in found if entry["status"] == "running"]


def _namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""
