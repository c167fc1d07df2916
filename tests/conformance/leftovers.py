"""What an engine may leave behind on the machine: processes, mounts, control groups, namespaces, interfaces, filter rules."""

import os
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Traces:
    """Everything of one home, and what belongs to no home by its name, counted before and after."""

    processes: frozenset[str]
    mounts: frozenset[str]
    cgroups: frozenset[str]
    namespaces: frozenset[str]
    interfaces: frozenset[str]
    tables: frozenset[str]

    def beyond(self, before: "Traces") -> dict[str, list[str]]:
        """What is here and was not before, by kind. Empty when nothing was left."""
        return {field.name: new for field in fields(self) if (new := sorted(getattr(self, field.name) - getattr(before, field.name)))}


def traces(home: Path) -> Traces:
    return Traces(
        processes=frozenset(_processes(home)),
        mounts=frozenset(_mounts(Path("/proc/self"), home)),
        cgroups=frozenset(str(path) for path in Path("/sys/fs/cgroup").rglob("*freehold*") if path.is_dir()),
        namespaces=frozenset(_names(Path("/run/netns"))),
        interfaces=frozenset(_names(Path("/sys/class/net"))),
        tables=frozenset(_lines("nft", "list", "tables")),
    )


def _processes(home: Path) -> list[str]:
    """Processes that run on this home, or inside a root filesystem that lies in it."""
    return [_described(process) for process in Path("/proc").glob("[0-9]*") if _belongs(process, home)]


def _belongs(process: Path, home: Path) -> bool:
    if process.name == str(os.getpid()):
        return False
    try:
        own_mounts = (process / "ns/mnt").readlink() != Path("/proc/self/ns/mnt").readlink()
        environment = (process / "environ").read_bytes().split(b"\0")
    except OSError:  # ended meanwhile, or a kernel thread
        return False
    return f"FREEHOLD_HOME={home}".encode() in environment or (own_mounts and bool(_mounts(process, home)))


def _described(process: Path) -> str:
    try:
        command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        command = "(ended)"
    return f"{process.name} {command}"


def _mounts(process: Path, home: Path) -> list[str]:
    try:
        lines = (process / "mountinfo").read_text().splitlines()
    except OSError:
        return []
    return [line for line in lines if str(home) in line]


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout.splitlines()
